"""Transcripts in WebVTT files (https://www.w3.org/TR/webvtt1/): lines of text with their times."""

import html
import os
import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

_CLOCK = r"(?:(\d{2,}):)?([0-5]\d):([0-5]\d)\.(\d{3})"
_TIMES = re.compile(rf"{_CLOCK}[ \t]+-->[ \t]+{_CLOCK}(?:[ \t].*)?")
_TAG = re.compile(r"<[^>]*>")


class TranscriptError(ValueError):
    """A file that is no transcript."""


class Line(NamedTuple):
    """What is said from `start` to `end`, in seconds."""

    start: float
    end: float
    text: str


def read(path: str | os.PathLike) -> list[Line]:
    """Lines of a .vtt file in its order, on one line each, without tags; empty ones are left out.

    Raises TranscriptError, with the file and the line, where it is not WebVTT, not UTF-8, or says
    nothing.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise TranscriptError(f"{path} is not there; give the path of a WebVTT file (.vtt)")
    contents = path.read_bytes()
    try:
        text = contents.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = contents.count(b"\n", 0, error.start) + 1
        raise TranscriptError(f"{path}:{number}: not UTF-8; save the file as UTF-8") from error
    rows = re.split(r"\r\n|\r|\n", text)
    if not re.fullmatch(r"WEBVTT(?:[ \t].*)?", rows[0]):
        raise TranscriptError(
            f"{path}:1: begins with {rows[0][:40]!r}, expected WEBVTT; convert other subtitle "
            "formats, as with `ffmpeg -i FILE.srt FILE.vtt`"
        )
    lines = [line for block in _blocks(rows) if (line := _read_cue(path, *block)) and line.text]
    if not lines:
        raise TranscriptError(f"{path} has no line of text; give a transcript with words")
    return lines


def _blocks(rows: list[str]) -> Iterator[tuple[int, list[str]]]:
    """(number of the first row, counted from 1; rows) of what empty rows separate, the header's
    block left out."""
    block: list[str] = []
    for number, row in enumerate([*rows, ""], start=1):
        if row:
            block.append(row)
            continue
        if block and number > len(block) + 1:  # the header's block begins at row 1
            yield number - len(block), block
        block = []


def _read_cue(path: pathlib.Path, number: int, rows: list[str]) -> Line | None:
    """The line of a cue's block, None of a comment, a style or a region."""
    if not any("-->" in row for row in rows[:2]):
        if rows[0].split()[:1] in (["NOTE"], ["STYLE"], ["REGION"]):
            return None
        raise TranscriptError(
            f"{path}:{number}: {rows[0][:40]!r}, expected a time such as "
            "00:01.000 --> 00:04.500 above the text"
        )
    place = 0 if "-->" in rows[0] else 1  # behind the name that a cue may have
    times = _TIMES.fullmatch(rows[place].strip())
    if times is None:
        raise TranscriptError(
            f"{path}:{number + place}: {rows[place][:60]!r}, expected a time such as "
            "00:01.000 --> 00:04.500"
        )
    start, end = _seconds(*times.groups()[:4]), _seconds(*times.groups()[4:])
    if end <= start:
        raise TranscriptError(
            f"{path}:{number + place}: from {start} to {end} s, expected an end after the start"
        )
    words = html.unescape(_TAG.sub("", " ".join(rows[place + 1 :]))).split()
    return Line(start, end, " ".join(words))


def _seconds(hours: str | None, minutes: str, seconds: str, milliseconds: str) -> float:
    whole = 3600 * int(hours or 0) + 60 * int(minutes) + int(seconds)
    return (1000 * whole + int(milliseconds)) / 1000
