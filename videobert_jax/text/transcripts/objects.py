"""Transcripts in JSON: of YouTube (json3), Whisper and WhisperX, HowTo100M and TAN."""

import io
import json
from collections.abc import Iterator
from typing import Any

from videobert_jax.text.transcripts.cue import Collector, TranscriptError, number

_PIECE = 1 << 20  # characters read at a time


def read(content: Any, cues: Collector) -> bool:
    """Collects the cues of one video's transcript; False where the content has no known form."""
    if isinstance(content, dict) and isinstance(content.get("segments"), list):
        _whisper(content["segments"], cues)
    elif isinstance(content, dict) and isinstance(content.get("events"), list):
        _json3(content["events"], cues)
    elif is_columns(content):
        _columns(content, cues)
    elif isinstance(content, list) and content and all(isinstance(e, dict) for e in content):
        _whisper(content, cues)
    else:
        return False
    return True


def is_columns(content: Any) -> bool:
    """Whether it is HowTo100M's or TAN's form of a video: lists of starts, ends and texts."""
    return isinstance(content, dict) and all(
        isinstance(content.get(name), list) for name in ("start", "end", "text")
    )


def _whisper(segments: list[Any], cues: Collector) -> None:
    """[{start, end, text, words [{start, word}]}] (words where the model gave them)."""
    for place, segment in enumerate(segments):
        if not isinstance(segment, dict):
            cues.dropped.append(f"segment {place}: a {type(segment).__name__}")
            continue
        words: list[tuple[float, str]] = []
        listed = segment.get("words")
        for word in listed if isinstance(listed, list) else []:
            try:  # WhisperX leaves out the times of words it could not place
                words.append((number(word["start"]), str(word["word"]).strip()))
            except (KeyError, TypeError, ValueError):
                words = []
                break
        start, end, text = (segment.get(name) for name in ("start", "end", "text"))
        cues.add(f"segment {place}", start, end, text, words)


def _json3(events: list[Any], cues: Collector) -> None:
    """[{tStartMs, dDurationMs, segs [{utf8, tOffsetMs}]}]; an event that only rolls has aAppend."""
    for place, event in enumerate(events):
        pieces = event.get("segs") if isinstance(event, dict) else None
        if not isinstance(pieces, list) or event.get("aAppend"):
            continue
        try:
            start = number(event.get("tStartMs", 0)) / 1000
            end = start + number(event.get("dDurationMs", 0)) / 1000
            words = [
                (start + number(piece.get("tOffsetMs", 0)) / 1000, word)
                for piece in pieces
                for word in str(piece.get("utf8", "")).split()
            ]
        except (AttributeError, ValueError) as error:
            cues.dropped.append(f"event {place}: {error}")
            continue
        text = "".join(str(piece.get("utf8", "")) for piece in pieces)
        cues.add(f"event {place}", start, end, text, words)


def _columns(content: dict[str, list[Any]], cues: Collector) -> None:
    columns = content["start"], content["end"], content["text"]
    if len({len(column) for column in columns}) > 1:
        lengths = ", ".join(str(len(column)) for column in columns)
        cues.dropped.append(f"{lengths} starts, ends and texts; those beyond the fewest")
    for place, (start, end, text) in enumerate(zip(*columns, strict=False)):
        cues.add(f"caption {place}", start, end, text)


def members(file: io.TextIOBase, name: str) -> Iterator[tuple[str, Any]]:
    """(key, value) of a JSON object of any size, one value in memory at a time.

    Raises TranscriptError where the text is no object, or is cut off.
    """
    decoder, buffer, ended = json.JSONDecoder(), "", False

    def more() -> bool:
        nonlocal buffer, ended
        piece = "" if ended else file.read(max(_PIECE, len(buffer)))
        ended = not piece
        buffer += piece
        return bool(piece)

    def after_blanks() -> str:
        nonlocal buffer
        buffer = buffer.lstrip()
        while not buffer and more():
            buffer = buffer.lstrip()
        return buffer[:1]

    def value() -> Any:
        nonlocal buffer
        after_blanks()
        while True:
            try:
                found, end = decoder.raw_decode(buffer)
            except (ValueError, RecursionError) as error:
                if not more():
                    raise TranscriptError(f"{name}: no whole JSON ({error})") from error
                continue
            if end == len(buffer) and more():  # a number may go on
                continue
            buffer = buffer[end:]
            return found

    def expect(characters: str) -> str:
        nonlocal buffer
        found = after_blanks()
        if not found or found not in characters:
            raise TranscriptError(f"{name}: {buffer[:20]!r}, expected one of {characters!r}")
        buffer = buffer[1:]
        return found

    expect("{")
    if after_blanks() == "}":
        return
    while True:
        key = value()
        expect(":")
        yield str(key), value()
        if expect(",}") == "}":
            return
