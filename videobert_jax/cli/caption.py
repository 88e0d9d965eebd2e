"""`videobert caption FILE... --checkpoint WORKDIR|EXPORT`: what a video shows, in words.

A line a file; with --format vtt, srt or json, captions of its segments with their times: spans of
--segment-seconds, or the times of the cues of --times. They are written to stdout, or with --output
to a file, of several FILEs to one each in a folder. A network with a decoder is needed.
"""

import argparse
import json
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from videobert_jax.cli import model_options

if TYPE_CHECKING:
    from videobert_jax.inference.captions import TimedCaption
    from videobert_jax.inference.model import PretrainedModel
    from videobert_jax.text.transcripts import Cue

HELP = "write captions of videos, as text, WebVTT, SubRip or JSON"
FORMATS = ("vtt", "srt", "json")


class CaptionError(ValueError):
    """Captions that cannot be written so."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    model_options.add_arguments(parser)
    parser.add_argument("--format", choices=FORMATS, help="timed segments, in this form")
    parser.add_argument(
        "--segment-seconds",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="of each segment, one behind another (default 10)",
    )
    parser.add_argument(
        "--times",
        type=pathlib.Path,
        metavar="FILE",
        help="transcript whose cues' times are the segments, instead; of one FILE",
    )
    parser.add_argument(
        "--transcript",
        type=pathlib.Path,
        help="what is said, of one FILE, for networks that read it: of a segment the cues whose "
        "middle lies in it",
    )
    parser.add_argument("--output", type=pathlib.Path, help="file or, of several FILEs, folder")
    parser.add_argument("--num-beams", type=int, default=4, help="1 is greedy (default 4)")
    model_options.add_truncate(parser)


def run(arguments: argparse.Namespace) -> int:
    """0 when the captions are there. Raises CaptionError, TranscriptError, and what model and
    files do."""
    files = arguments.files
    if len(files) > 1 and (arguments.times or arguments.transcript):
        raise CaptionError(f"--times and --transcript are of one FILE; {len(files)} are given.")
    if len(files) > 1 and arguments.format in ("vtt", "srt") and arguments.output is None:
        raise CaptionError(f"{len(files)} FILEs as {arguments.format}; say --output=FOLDER.")
    if arguments.format is None and (arguments.times or arguments.output):
        raise CaptionError("--times and --output are of timed segments; say --format=vtt.")
    outputs = _outputs(arguments)
    cues = _cues(arguments.transcript)
    times = None
    if arguments.times is not None:
        times = [(cue.start, cue.end) for cue in _cues(arguments.times) or ()]
    options = {"num_beams": arguments.num_beams, "truncate": arguments.truncate}
    with model_options.opened(arguments) as model:
        for file, output in zip(files, outputs, strict=True):
            if arguments.format is None:
                said = None if cues is None else " ".join(cue.text for cue in cues)
                (text,) = model.caption(file, said, **options)
                print(json.dumps({"file": file, "caption": text}) if arguments.json else text)
                continue
            told = _timed(model, file, times, cues, arguments.segment_seconds, options)
            _write(file, told, arguments.format, output)
    return 0


def _cues(path: pathlib.Path | None) -> "Sequence[Cue] | None":
    from videobert_jax.text import transcripts

    return None if path is None else transcripts.read_transcript(path).cues


def _outputs(arguments: argparse.Namespace) -> list[pathlib.Path | None]:
    """Where the captions of each file are written; None is stdout."""
    output, files = arguments.output, arguments.files
    if output is None or len(files) == 1:
        return [output] * len(files)
    names = [f"{pathlib.Path(file).stem}.{arguments.format}" for file in files]
    if len(set(names)) < len(names):
        raise CaptionError(
            "two FILEs have one name, and so would their captions; caption them apart."
        )
    return [output / name for name in names]


def _timed(
    model: "PretrainedModel",
    file: str,
    times: Sequence[tuple[float, float]] | None,
    cues: "Sequence[Cue] | None",
    seconds: float,
    options: dict[str, Any],
) -> "list[TimedCaption]":
    from videobert_jax.inference import captions

    (features,) = model.features(file)
    said = None
    if cues is not None:
        times, _ = captions.spans(model, features, times, seconds)
        said = [
            " ".join(cue.text for cue in cues if start <= (cue.start + cue.end) / 2 < end)
            for start, end in times
        ]
        for (start, end), text in zip(times, said, strict=True):
            if not text:
                raise CaptionError(
                    f"nothing is said from {start:g} to {end:g} s; say longer --segment-seconds, "
                    "or --times of segments in which something is."
                )
    return model.caption_segments(features, times, seconds=seconds, transcripts=said, **options)


def _write(file: str, told: "list[TimedCaption]", form: str, output: pathlib.Path | None) -> None:
    from videobert_jax.files import atomic
    from videobert_jax.text.transcripts import subtitles

    if form == "json":
        text = json.dumps({"file": file, "captions": [of._asdict() for of in told]})
    else:
        cues = [of._replace(text=" ".join(of.text.split())) for of in told if of.text.strip()]
        text = (
            subtitles.write_webvtt(cues, are_sentences=True)
            if form == "vtt"
            else subtitles.write_subrip(cues)
        )
    if output is None:
        print(text)
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_bytes(output, f"{text.rstrip()}\n".encode())
        print(output)
