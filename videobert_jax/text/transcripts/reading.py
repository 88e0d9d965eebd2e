"""Transcript files by what they hold, not by their name: of one video, and of many."""

import bisect
import csv
import json
import os
import pathlib
import re
from collections.abc import Iterator, Mapping

from videobert_jax.text.transcripts import objects, subtitles
from videobert_jax.text.transcripts.cue import Collector, Transcript, TranscriptError

MAX_BYTES = 64 << 20  # of one video's file; a two-hour film's word-timed captions have 2 MiB
_COLUMNS = {  # column of a table -> names it has, in lower case
    "start": ("start", "start_time", "begin", "timestamp", "from"),
    "end": ("end", "end_time", "stop", "to"),
    "text": ("text", "sentence", "caption", "transcript", "utterance"),
    "video": ("video_id", "video", "videourl", "url", "id"),
}
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)")
_LAST_SECONDS = 5.0  # a sentence's length where a table has no ends and nothing follows
_SNIFFED = 1 << 16  # characters that tell a file's form


def read_transcript(path: str | os.PathLike, duration: float | None = None) -> Transcript:
    """What is said in one video, in the order of time: WebVTT or SubRip (what YouTube rolls on is
    taken once), YouTube's json3, Whisper's and WhisperX' JSON, lists of HowTo100M's form, csv.

    Cues that cannot be (times turned round, negative, or behind `duration` in seconds; texts beyond
    5,000 characters) are left out, with their reasons. Raises TranscriptError where the file is
    none of these, larger than 64 MiB, neither UTF-8 nor marked UTF-16, or says nothing.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise TranscriptError(f"{path} is not there; give the path of a transcript")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise TranscriptError(
            f"{path}: {size:,} bytes, expected one video's transcript of {MAX_BYTES:,} at most"
        )
    text, cues = _decode(path, path.read_bytes()), Collector(duration)
    if text.startswith("WEBVTT") or (text[:1] not in "{[" and "-->" in text):
        subtitles.read(text, cues)
    elif text[:1] in ("{", "["):
        _read_json(path, text, cues)
    elif (rows := _table(path, text.splitlines())) is not None:
        _add_rows(list(rows), cues)
    else:
        raise TranscriptError(
            f"{path}: begins with {text[:40]!r}; expected WebVTT, SubRip, JSON of YouTube, Whisper "
            "or HowTo100M, or a csv with the columns start and text"
        )
    found = cues.transcript()
    if not found.cues:
        why = (
            f" ({len(found.dropped)} left out, the first {found.dropped[0]})"
            if found.dropped
            else ""
        )
        raise TranscriptError(f"{path}: nothing is said in it{why}; give a transcript with words")
    return found


def read_transcripts(path: str | os.PathLike) -> Iterator[tuple[str, Transcript]]:
    """(video, transcript) of a file of many videos: HowTo100M's or TAN's JSON, `{video: {start,
    end, text}}`, one video in memory at a time; or a csv with a column of videos.

    Raises TranscriptError where the file is neither, or is cut off.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise TranscriptError(f"{path} is not there; give the path of transcripts")
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            start = file.read(_SNIFFED)
            file.seek(0)
            if start.lstrip()[:1] == "{":
                yield from _of_objects(path, file)
                return
            yield from _of_table(path, file)
    except UnicodeDecodeError as error:
        raise TranscriptError(f"{path}: not UTF-8 ({error}); save it as UTF-8") from error


def holds_many(path: str | os.PathLike) -> bool:
    """Whether a file is of many videos, as `read_transcripts` takes them: JSON whose first member
    is a video's lists, or a csv with a column of videos. False where it is damaged or absent."""
    path = pathlib.Path(path)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            start = file.read(_SNIFFED)
            file.seek(0)
            if start.lstrip()[:1] == "{":
                _, content = next(objects.members(file, str(path)), ("", None))
                return objects.is_columns(content)
            if start[:1] in ("", "[") or "-->" in start:
                return False
            row = next(iter(_table(path, file) or ()), {})
            return "video" in row
    except (OSError, UnicodeDecodeError, TranscriptError):
        return False


def _of_objects(path: pathlib.Path, file) -> Iterator[tuple[str, Transcript]]:
    """A first member of another form is an error, for then the file is of one video, or none."""
    for place, (video, content) in enumerate(objects.members(file, str(path))):
        cues = Collector(None)
        if not objects.read(content, cues):
            text = f"a {type(content).__name__}, expected lists of start, end and text"
            if place == 0:
                raise TranscriptError(
                    f"{path}: {video!r} holds {text}; a file of one video is read as such"
                )
            cues.dropped.append(text)
        yield video, cues.transcript()


def _of_table(path: pathlib.Path, file) -> Iterator[tuple[str, Transcript]]:
    rows = _table(path, file)
    by_video: dict[str, list[dict[str, str]]] = {}
    for row in rows if rows is not None else ():
        if "video" not in row:
            raise TranscriptError(f"{path}: no column of videos; expected one called video_id")
        by_video.setdefault(row["video"], []).append(row)
    if not by_video:
        raise TranscriptError(f"{path}: no rows; expected a csv with video_id, start and text")
    for video, of_video in by_video.items():
        cues = Collector(None)
        _add_rows(of_video, cues)
        yield video, cues.transcript()


def _decode(path: pathlib.Path, content: bytes) -> str:
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(encoding).lstrip()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TranscriptError(
            f"{path}:{line}: not {encoding.removesuffix('-sig').upper()}; save it as UTF-8 (older "
            "files are often Windows-1252)"
        ) from error


def _read_json(path: pathlib.Path, text: str, cues: Collector) -> None:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TranscriptError(f"{path}: no whole JSON ({error}); fetch it anew") from error
    if objects.read(content, cues):
        return
    if isinstance(content, dict) and len(content) == 1:
        (inner,) = content.values()
        if objects.read(inner, cues):
            return
    raise TranscriptError(
        f"{path}: JSON of no known form; expected YouTube's events, Whisper's segments, or lists "
        "of start, end and text (of one video: a file of many is given as such)"
    )


def _table(path: pathlib.Path, lines) -> Iterator[dict[str, str]] | None:
    """Rows by our names of the columns; None where there is no header with start and text."""
    reader = csv.reader(lines, strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
    except csv.Error as error:
        raise TranscriptError(f"{path}: no csv ({error})") from error
    places = {
        ours: header.index(name)
        for ours, names in _COLUMNS.items()
        for name in names
        if name in header
    }
    if not {"start", "text"} <= set(places):
        return None

    def rows() -> Iterator[dict[str, str]]:
        try:
            for row in reader:
                if row:
                    yield {n: row[p] if p < len(row) else "" for n, p in places.items()}
        except csv.Error as error:
            raise TranscriptError(f"{path}:{reader.line_num}: no csv ({error})") from error

    return rows()


def _add_rows(rows: list[dict[str, str]], cues: Collector) -> None:
    """Rows with times in seconds or as a clock; without ends a row lasts to the next one."""
    starts = [_time(row, "start") for row in rows]
    known = sorted(start for start in starts if isinstance(start, float))
    for place, (row, start) in enumerate(zip(rows, starts, strict=True), start=2):
        end: float | str = ""
        if "end" in row:
            end = _time(row, "end")
        elif isinstance(start, float):
            following = bisect.bisect_right(known, start)
            end = known[following] if following < len(known) else start + _LAST_SECONDS
        cues.add(f"row {place}", start, end, row["text"])


def _time(row: Mapping[str, str], name: str) -> float | str:
    text = row.get(name, "").strip()
    clock = _CLOCK.fullmatch(text)
    if clock is not None:
        return 3600 * int(clock[1] or 0) + 60 * int(clock[2]) + float(clock[3])
    try:
        return float(text)
    except ValueError:
        return text
