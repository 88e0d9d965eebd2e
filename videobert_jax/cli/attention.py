"""`videobert attention FILE... --checkpoint WORKDIR|EXPORT`: what a network looks at, PNG or HTML.

The picture, above: every line of the transcript beside every moment of the video. Below: how the
words of one line and its clips attend to each other. The page: that of all lines, in every layer,
by every head and rolled out, to be chosen and pointed at. FILE is a video, whose features are
extracted here, or a .npy or .npz of clip features [clips, dim] with its contract.json beside it. A
line's moment is the time of its cue: for exact steps give a .vtt that holds their times.
"""

import argparse
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from videobert_jax.cli import model_options
from videobert_jax.files import extras

if TYPE_CHECKING:
    import numpy as np

    from videobert_jax.inference.model import PretrainedModel
    from videobert_jax.text.transcripts import Cue

HELP = "draw which words and moments of a video a network takes together (PNG, HTML)"
MOST_LINES = 12  # of a readable picture
_PICTURE, _PAGE = ".attention.png", ".attention.html"


class AttentionError(ValueError):
    """Nothing that can be drawn."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        type=pathlib.Path,
        help="video, or .npy of clip features",
    )
    model_options.add_model_arguments(parser)
    parser.add_argument(
        "--transcript", type=pathlib.Path, help="of one FILE; default: its name with .vtt"
    )
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        help="of one FILE: a picture, .png, or a page for the browser, .html; default: its name "
        f"with {_PICTURE}",
    )
    parser.add_argument(
        "--html", action="store_true", help=f"pages instead of pictures, FILE's name with {_PAGE}"
    )
    parser.add_argument(
        "--lines",
        help=f"FIRST-LAST of the transcript, from 1; default: the first {MOST_LINES}",
    )
    parser.add_argument(
        "--line",
        type=int,
        help="the one whose words are drawn, from 1; default: of those with most clips the one "
        "most similar to its own moment",
    )
    parser.add_argument("--layer", type=int, help="cross-modal layer, from 1; default: the last")
    parser.add_argument("--head", type=int, help="attention head, from 1; default: their mean")
    parser.add_argument(
        "--rollout",
        action="store_true",
        help="attention rolled out over all layers, instead of one layer's",
    )


def run(arguments: argparse.Namespace) -> int:
    """0 when the pictures or pages are there. Raises AttentionError, TranscriptError, MissingExtra,
    ContractMismatch and what the loaders raise."""
    from videobert_jax.text import transcripts

    files, outputs = arguments.files, _outputs(arguments)
    if any(output.suffix == ".png" for output in outputs):
        extras.require("matplotlib", "plots")
    read = []
    for file in files:
        transcript = transcripts.read_transcript(arguments.transcript or file.with_suffix(".vtt"))
        for reason in transcript.dropped:
            _say(f"left out of the transcript of {file}: {reason}")
        read.append(transcript.cues)
    with model_options.opened(arguments) as model:
        for file, cues, output in zip(files, read, outputs, strict=True):
            _draw(model, file, cues, output, arguments)
    return 0


def _outputs(arguments: argparse.Namespace) -> list[pathlib.Path]:
    """What is written of each file. Raises AttentionError on options of one file for several."""
    files, output = arguments.files, arguments.output
    if len(files) > 1:
        for name in ("transcript", "output", "line", "lines"):
            if getattr(arguments, name) is not None:
                raise AttentionError(f"--{name} is of one FILE, found {len(files)}; leave it out.")
    if output is None:
        ending = _PAGE if arguments.html else _PICTURE
        return [file.with_suffix(ending) for file in files]
    if output.suffix not in ((".html",) if arguments.html else (".png", ".html")):
        expected = ".html" if arguments.html else ".png or .html"
        raise AttentionError(f"--output={output}: expected a name that ends in {expected}.")
    return [output]


def _draw(
    model: "PretrainedModel",
    file: pathlib.Path,
    cues: "list[Cue]",
    output: pathlib.Path,
    arguments: argparse.Namespace,
) -> None:
    from videobert_jax.files import atomic
    from videobert_jax.inference import attention_page, attention_picture

    shown = _shown(model, _Source(file, model), cues, arguments)
    if output.suffix == ".html":
        contents = attention_page.build(_page(model, shown, arguments)).encode()
    else:
        contents = attention_picture.draw(_picture(model, shown, arguments))
    output.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(output, contents)
    print(output)


class _Source:
    """Clip features [n, c] of the file, whether their contract was verified, and its frames."""

    def __init__(self, file: pathlib.Path, model: "PretrainedModel"):
        from videobert_jax.inference import reading

        self.file, self._reader = file, model.reader
        self.is_video = file.suffix not in reading.FEATURES
        (self.features,) = model.features(file)
        if self.is_video:
            contract = self._reader.extractor.contract
        else:
            contract = reading.read_features(file).contract
        self.contract_verified = contract.verify_against(
            model.contract, found=str(file), expected="the checkpoint"
        )

    def frames(self, clips: Sequence[int]) -> "dict[int, np.ndarray]":
        """Middle frame by number of the clip; none of a file of features."""
        if not self.is_video:
            return {}
        from videobert_jax.video import clips as cutting
        from videobert_jax.video import decode

        network, settings = self._reader.extractor.backbone, self._reader.extractor.settings
        stream = decode.read_frames(self.file, settings.fps, network.side, network.squashed)
        return cutting.middle_frames(stream, settings, clips)


class _Shown(NamedTuple):
    """Lines with their numbers, (first clip, number of clips) of each, their clip features, how
    they match, and the place of the line whose words are drawn."""

    source: _Source
    lines: "list[tuple[int, Cue]]"
    spans: list[tuple[int, int]]
    moments: "list[np.ndarray]"
    matches: Any
    chosen: int

    def clips(self, place: int) -> range:
        first, count = self.spans[place]
        return range(first, first + count)


def _shown(
    model: "PretrainedModel", source: _Source, lines: "list[Cue]", arguments: argparse.Namespace
) -> _Shown:
    from videobert_jax.inference import attention_maps

    shown, spans = _passage(lines, source.features, model, arguments.lines)
    moments = [source.features[first : first + count] for first, count in spans]
    matches = attention_maps.match(model, moments, [line.text for _, line in shown], truncate=True)
    own_cosines = matches.cosines.diagonal()
    chosen = _chosen(arguments.line, [number for number, _ in shown], spans, own_cosines)
    return _Shown(source, shown, spans, moments, matches, chosen)


def _attention(model: "PretrainedModel", shown: _Shown, arguments: argparse.Namespace) -> Any:
    """Of the line that is chosen, as the flags ask for."""
    from videobert_jax.inference import attention_maps

    return attention_maps.attend(
        model,
        shown.moments[shown.chosen],
        shown.lines[shown.chosen][1].text,
        layer=arguments.layer,
        head=arguments.head,
        rollout=arguments.rollout,
        truncate=True,
    )


def _picture(model: "PretrainedModel", shown: _Shown, arguments: argparse.Namespace) -> Any:
    from videobert_jax.inference import attention_picture

    attention = _attention(model, shown, arguments)
    number, chosen = shown.lines[shown.chosen]
    own = shown.clips(shown.chosen)
    middles = [first + (count - 1) // 2 for first, count in shown.spans]
    frames = shown.source.frames(sorted({*middles, *own}))
    return attention_picture.Picture(
        title=_title(shown.source),
        subtitle=_subtitle(model, shown.source),
        caption=_caption(shown.source.file),
        moments=[
            attention_picture.Moment(line.text, line.start, line.end, frames.get(middle))
            for (_, line), middle in zip(shown.lines, middles, strict=True)
        ],
        matches=shown.matches,
        passage=attention_picture.Passage(
            chosen.text,
            _about(number, arguments.line is None, len(own), attention, model),
            [clip * model.contract.stride_seconds for clip in own],
            [frames[clip] for clip in own if clip in frames],
            attention,
        ),
    )


def _page(model: "PretrainedModel", shown: _Shown, arguments: argparse.Namespace) -> Any:
    from videobert_jax.inference import attention_maps, attention_page

    asked = _attention(model, shown, arguments)
    texts = [line.text for _, line in shown.lines]
    maps = attention_maps.attend_everywhere(model, shown.moments, texts, truncate=True)
    stride = model.contract.stride_seconds
    every = sorted({clip for place in range(len(texts)) for clip in shown.clips(place)})
    return attention_page.Page(
        title=_title(shown.source),
        subtitle=_subtitle(model, shown.source),
        caption=_caption(shown.source.file),
        lines=[
            attention_page.Line(
                number,
                line.text,
                line.start,
                line.end,
                shown.clips(place),
                [clip * stride for clip in shown.clips(place)],
                maps[place],
            )
            for place, (number, line) in enumerate(shown.lines)
        ],
        frames=shown.source.frames(every),
        chosen=(shown.chosen, asked.layer, asked.head),
    )


def _title(source: _Source) -> str:
    return f"Words and moments of {source.file.name}"


def _about(
    number: int, by_default: bool, count: int, attention: Any, model: "PretrainedModel"
) -> str:
    config = model.bundle.config
    why = ", of those with most clips the one most similar to its own moment"
    clips = f"its {count} clip{'s' if count > 1 else ''}"
    if attention.is_rollout:
        how = f"Attention with {clips}, rolled out over all layers, mean of their heads"
    else:
        head = f"head {attention.head}" if attention.head else f"mean of {config.num_heads} heads"
        layer = f"layer {attention.layer} of {config.cross.num_layers}"
        how = f"Cross-attention with {clips}, {layer}, {head}"
    line = f"Line {number}{why if by_default else ''}"
    return f"{line}. {how}. Grey: less than an even share; red: more."


def _passage(
    lines: "list[Cue]", features: "np.ndarray", model: "PretrainedModel", asked: str | None
) -> "tuple[list[tuple[int, Cue]], list[tuple[int, int]]]":
    """([(number from 1, line)], [(first clip, number of clips)]) of the lines asked for.

    What is left out or cut is said on stderr; a longer moment is cut as in training.
    """
    wanted = range(1, min(len(lines), MOST_LINES) + 1)
    if asked is not None:
        match = re.fullmatch(r"(\d+)-(\d+)", asked)
        if match is None or not 1 <= int(match[1]) <= int(match[2]) <= len(lines):
            raise AttentionError(
                f"--lines={asked}: expected FIRST-LAST within 1-{len(lines)}, such as "
                f"1-{min(len(lines), MOST_LINES)}."
            )
        wanted = range(int(match[1]), int(match[2]) + 1)
    if len(wanted) > MOST_LINES:
        raise AttentionError(f"--lines={asked}: {len(wanted)} lines; at most {MOST_LINES} fit.")
    if asked is None and len(wanted) < len(lines):
        _say(f"lines 1-{len(wanted)} of {len(lines)}; others with --lines=FIRST-LAST")
    shown, spans = [], []
    for number in wanted:
        line = lines[number - 1]
        first, count = model.contract.clips_between(line.start, line.end, len(features))
        if not count:
            _say(f"line {number} is left out: spoken when the video has ended")
            continue
        if count > model.maximum_clips:
            _say(f"line {number}: the first {model.maximum_clips} of {count} clips are taken")
        pieces = len(model.tokenizer.encode([line.text])[0]) + 2  # with [CLS] and [SEP]
        if pieces > model.maximum_pieces:
            _say(f"line {number}: the first {model.maximum_pieces} of {pieces} pieces are taken")
        shown.append((number, line))
        spans.append((first, min(count, model.maximum_clips)))
    if not shown:
        raise AttentionError(
            "no line is spoken during the video; check that the two belong together."
        )
    return shown, spans


def _chosen(
    asked: int | None,
    numbers: list[int],
    spans: list[tuple[int, int]],
    own_cosines: "np.ndarray",
) -> int:
    """Place among the lines drawn; where none is asked for, as `--line` says."""
    if asked is None:
        return max(range(len(spans)), key=lambda place: (spans[place][1], own_cosines[place]))
    if asked not in numbers:
        raise AttentionError(
            f"--line={asked}: not among the lines that are drawn, {numbers[0]} to {numbers[-1]}; "
            "choose them with --lines."
        )
    return numbers.index(asked)


def _subtitle(model: "PretrainedModel", source: _Source) -> str:
    bundle = model.bundle
    seen = source.file.stem in bundle.trained_on.get("video_names", ())
    parts = [
        f"VideoBERT \u201c{bundle.name}\u201d, step {bundle.step}, parameters {bundle.digest[:8]}",
        "this video was seen in training" if seen else "no video of this name was seen in training",
    ]
    if _is_drawn(source.file):
        parts.append("the video is drawn")
    if not source.contract_verified:
        parts.append("how the clip features were made is not known in full")
    return "  \u00b7  ".join(parts)


def _caption(file: pathlib.Path) -> str:
    from videobert_jax.tasks import report

    return f"Video {report.KITCHEN_NOTE}." if _is_drawn(file) else ""


def _is_drawn(file: pathlib.Path) -> bool:
    from videobert_jax.kitchen import corpus

    return corpus.VIDEO_NAME.fullmatch(file.stem) is not None


def _say(text: str) -> None:
    print(text, file=sys.stderr)
