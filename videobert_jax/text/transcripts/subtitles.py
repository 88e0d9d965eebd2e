"""Subtitles: WebVTT (https://www.w3.org/TR/webvtt1/) and SubRip, also as YouTube writes them."""

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Any

from videobert_jax.text.transcripts.cue import Collector, plain, without_rolling

_CLOCK = r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_TIMES = re.compile(rf"\s*{_CLOCK}\s*-->\s*{_CLOCK}(?:\s.*)?")
_WORD_TIME = re.compile(rf"<{_CLOCK}>")
_BREAK = re.compile(r"\r\n|\r|\n")
_SENTENCES = "WEBVTT - sentences"  # first line of a file whose cues are whole sentences


def read(text: str, cues: Collector) -> None:
    """Collects the cues of a WebVTT or SubRip text; what rolls on is taken once.

    Where YouTube times every word, they are taken with their times.
    """
    cues.are_sentences = _BREAK.split(text, maxsplit=1)[0] == _SENTENCES
    collect(_blocks(text, cues), cues)


def collect(blocks: Iterable[tuple[float, float, list[str]]], cues: Collector) -> None:
    """Collects cues given as (start, end, lines), in seconds; those of sentences do not roll."""
    for start, end, lines in blocks if cues.are_sentences else without_rolling(blocks):
        words = [word for line in lines for word in _words(line, start)]
        timed = any(_WORD_TIME.search(line) for line in lines)
        cues.add(f"cue at {start:g} s", start, end, " ".join(lines), words if timed else ())


def _blocks(text: str, cues: Collector) -> Iterator[tuple[float, float, list[str]]]:
    """(start, end, lines of text) of what stands below each line of times."""
    rows = _BREAK.split(text)
    starts = [number for number, row in enumerate(rows) if "-->" in row]
    for number, following in itertools.pairwise([*starts, len(rows)]):
        times = _TIMES.fullmatch(rows[number])
        if times is None:
            cues.dropped.append(f"line {number + 1}: {rows[number][:60]!r} is no pair of times")
            continue
        body: list[str] = []
        for row in rows[number + 1 : following]:
            if row == "":  # the cue ends; YouTube writes its empty lines as a blank
                break
            body.append(row)
        else:
            body = body[:-1] if following < len(rows) else body  # the next cue's number or name
        yield _seconds(times.groups()[:4]), _seconds(times.groups()[4:]), body


def _words(line: str, start: float) -> list[tuple[float, str]]:
    """(start, word) of a line whose words YouTube timed; the first begins with the cue."""
    pieces = _WORD_TIME.split(line)
    words = [(start, word) for word in plain(pieces[0]).split()]
    for place in range(1, len(pieces), 5):
        moment = _seconds(tuple(pieces[place : place + 4]))
        words += [(moment, word) for word in plain(pieces[place + 4]).split()]
    return words


def _seconds(clock: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = clock
    whole = 3600 * int(hours or 0) + 60 * int(minutes or 0) + int(seconds or 0)
    return (1000 * whole + int((fraction or "0").ljust(3, "0"))) / 1000


def write_webvtt(cues: Iterable[Any], are_sentences: bool = False) -> str:
    """Text of a WebVTT file of whatever has start, end (seconds) and text.

    `are_sentences` says so in its first line: such cues are not joined and cut anew when read.
    """
    lines = [_SENTENCES if are_sentences else "WEBVTT", ""]
    for cue in cues:
        said = cue.text.replace("&", "&amp;").replace("<", "&lt;").replace("-->", "--&gt;")
        lines += [f"{_clock(cue.start)} --> {_clock(cue.end)}", said, ""]
    return "\n".join(lines)


def write_subrip(cues: Iterable[Any]) -> str:
    """Text of a SubRip file (.srt) of whatever has start, end (seconds) and text."""
    blocks = []
    for number, cue in enumerate(cues, start=1):
        times = f"{_clock(cue.start)} --> {_clock(cue.end)}".replace(".", ",")
        blocks.append(f"{number}\n{times}\n{cue.text.replace('-->', '->')}\n")
    return "\n".join(blocks)


def _clock(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}.{rest % 1000:03d}"
