"""`videobert transcripts --input FILE_OR_DIR --output DIR`: what is said, as sentences in WebVTT.

Takes every form that docs/transcripts.md names: a folder of files named after videos, one such
file, or one file of many videos (HowTo100M's JSON, a csv with a column of videos), one video in
memory at a time. Writes VIDEO.vtt each, and to failures.jsonl what was left out and why. Videos
that are there already are skipped, so a stopped run goes on with the same command.
"""

import argparse
import json
import pathlib
import sys
import time
from collections.abc import Iterator

from videobert_jax.data import video_ids
from videobert_jax.data.datasets import narration
from videobert_jax.files import atomic
from videobert_jax.text import transcripts
from videobert_jax.text.transcripts import Cue, TranscriptError, sentences, subtitles

HELP = "transcripts of any form as sentences, a WebVTT file a video"
_PROGRESS_SECONDS = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--input", type=pathlib.Path, required=True, help="file or folder")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="folder to write")
    parser.add_argument(
        "--many", action="store_true", help="--input is one file of many videos' transcripts"
    )


def run(arguments: argparse.Namespace) -> int:
    """0 when every video was written, 1 where something said nothing or could not be read."""
    output = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    told = _Told(output / "failures.jsonl")
    videos = written = lines = 0
    begun = shown = time.monotonic()
    for name, cues in _videos(arguments.input, arguments.many, output, told):
        videos += 1
        if cues is None:
            continue
        said = sentences.of_cues(cues)
        if not said:
            told.tell(name, "nothing is said in it")
            continue
        atomic.write_text(output / f"{name}.vtt", subtitles.write_webvtt(said))
        written, lines = written + 1, lines + len(said)
        now = time.monotonic()
        if now - shown > _PROGRESS_SECONDS:
            shown = now
            rate = videos / (now - begun)
            print(f"{videos:,} videos, {rate:,.1f} a second", file=sys.stderr, flush=True)
    print(f"{output}: {written:,} of {videos:,} videos written, {lines:,} sentences")
    if told.count:
        print(f"  {told.count:,} things were left out: {output / 'failures.jsonl'} says why")
    return 1 if told.lost else 0


class _Told:
    """Failures, a line each as they come; what an earlier run told is not told again."""

    def __init__(self, file: pathlib.Path):
        self._file = file
        self._known = set(file.read_text(encoding="utf-8").splitlines()) if file.is_file() else ()
        self.count = 0
        self.lost = 0  # videos without a file

    def left_out(self, video: str, reason: str) -> None:
        line = json.dumps({"video": video, "reason": reason}, ensure_ascii=False)
        self.count += 1
        if line not in self._known:
            with open(self._file, "a", encoding="utf-8") as file:
                file.write(line + "\n")

    def tell(self, video: str, reason: str) -> None:
        self.lost += 1
        self.left_out(video, reason)


def _videos(
    source: pathlib.Path, many: bool, output: pathlib.Path, told: _Told
) -> Iterator[tuple[str, list[Cue] | None]]:
    """(video, its cues); None for one that is there already or could not be read."""
    if many:
        for video, transcript in transcripts.read_transcripts(source):
            name = video_ids.canonical(video)
            if _is_there(output, name):
                yield name, None
                continue
            for reason in transcript.dropped:
                told.left_out(name, reason)
            yield name, transcript.cues
        return
    if not source.exists():
        raise TranscriptError(f"{source} is not there; give a transcript or a folder of them")
    files = narration.files(source) if source.is_dir() else narration.named([source])
    if not files:
        endings = ", ".join(narration.SUFFIXES)
        raise TranscriptError(f"{source}: no transcripts; expected files that end in {endings}")
    for name, file in files.items():
        yield name, None if _is_there(output, name) else _read(name, file, told)


def _is_there(output: pathlib.Path, name: str) -> bool:
    return (output / f"{name}.vtt").is_file()


def _read(name: str, file: pathlib.Path, told: _Told) -> list[Cue] | None:
    try:
        transcript = transcripts.read_transcript(file)
    except TranscriptError as error:
        told.tell(name, str(error))
        return None
    for reason in transcript.dropped:
        told.left_out(name, f"{file.name}: {reason}")
    return transcript.cues
