"""`videobert attention FILE --checkpoint WORKDIR|EXPORT`: a picture of what a network looks at.

Above: every line of the transcript beside every moment of the video. Below: how the words of one
line and its clips attend to each other. FILE is a video, whose features are extracted here, or a
.npy or .npz of clip features [clips, dim] with its contract.json beside it. A line's moment is the
time of its cue: for exact steps give a .vtt that holds their times.
"""

import argparse
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from videobert_jax.cli import model_options
from videobert_jax.files import extras

if TYPE_CHECKING:
    import numpy as np

    from videobert_jax.inference.model import PretrainedModel
    from videobert_jax.text.transcripts import Cue

HELP = "draw which words and moments of a video a network takes together (PNG)"
MOST_LINES = 12  # of a readable picture


class AttentionError(ValueError):
    """Nothing that can be drawn."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=pathlib.Path, help="video, or .npy of clip features")
    model_options.add_model_arguments(parser)
    parser.add_argument("--transcript", type=pathlib.Path, help="default: FILE's name with .vtt")
    parser.add_argument(
        "--output", type=pathlib.Path, help="default: FILE's name with .attention.png"
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


def run(arguments: argparse.Namespace) -> int:
    """0 when the picture is there. Raises AttentionError, TranscriptError, MissingExtra,
    ContractMismatch and what the loaders raise."""
    extras.require("matplotlib", "plots")
    from videobert_jax.files import atomic
    from videobert_jax.inference import attention_picture
    from videobert_jax.text import transcripts

    file = arguments.file
    transcript = transcripts.read_transcript(arguments.transcript or file.with_suffix(".vtt"))
    for reason in transcript.dropped:
        _say(f"left out of the transcript: {reason}")
    lines = transcript.cues
    with model_options.opened(arguments) as model:
        picture = _picture(model, _Source(file, model), lines, arguments)
    output = arguments.output or file.with_suffix(".attention.png")
    output.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(output, attention_picture.draw(picture))
    print(output)
    return 0


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


def _picture(
    model: "PretrainedModel", source: _Source, lines: "list[Cue]", arguments: argparse.Namespace
) -> Any:
    from videobert_jax.inference import attention_maps, attention_picture

    shown, spans = _passage(lines, source.features, model, arguments.lines)
    moments = [source.features[first : first + count] for first, count in spans]
    matches = attention_maps.match(model, moments, [line.text for _, line in shown], truncate=True)
    own_cosines = matches.cosines.diagonal()
    chosen = _chosen(arguments.line, [number for number, _ in shown], spans, own_cosines)
    first, count = spans[chosen]
    attention = attention_maps.attend(
        model,
        moments[chosen],
        shown[chosen][1].text,
        layer=arguments.layer,
        head=arguments.head,
        truncate=True,
    )
    middles = [start + (length - 1) // 2 for start, length in spans]
    own = range(first, first + count)
    frames = source.frames(sorted({*middles, *own}))
    stride = model.contract.stride_seconds
    return attention_picture.Picture(
        title=f"Words and moments of {source.file.name}",
        subtitle=_subtitle(model, source),
        caption=_caption(source.file),
        moments=[
            attention_picture.Moment(line.text, line.start, line.end, frames.get(middle))
            for (_, line), middle in zip(shown, middles, strict=True)
        ],
        matches=matches,
        passage=attention_picture.Passage(
            shown[chosen][1].text,
            _about(shown[chosen][0], arguments.line is None, count, attention, model),
            [clip * stride for clip in own],
            [frames[clip] for clip in own if clip in frames],
            attention,
        ),
    )


def _about(
    number: int, by_default: bool, count: int, attention: Any, model: "PretrainedModel"
) -> str:
    config = model.bundle.config
    why = ", of those with most clips the one most similar to its own moment"
    head = f"head {attention.head}" if attention.head else f"mean of {config.num_heads} heads"
    return (
        f"Line {number}{why if by_default else ''}. Cross-attention with its {count} "
        f"clip{'s' if count > 1 else ''}, layer {attention.layer} of {config.cross.num_layers}, "
        f"{head}. Grey: less than an even share; red: more."
    )


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
