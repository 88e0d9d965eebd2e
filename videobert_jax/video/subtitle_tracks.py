"""What is said in a video by the subtitle track that its file carries."""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from videobert_jax.files import extras
from videobert_jax.text.transcripts import Transcript, TranscriptError, subtitles
from videobert_jax.text.transcripts.cue import Collector
from videobert_jax.video import languages

MAX_BYTES = 64 << 20  # of a track's packets, as of a transcript's file
_LAST_SECONDS = 5.0  # of a cue without a length, where nothing follows
# Lines of other things than what the narrator says.
_FOREIGN = ("forced", "lyrics", "karaoke", "comment", "descriptions", "metadata")
_OVERRIDE = re.compile(r"\{[^{}]{0,1000}\}")
_DRAWING = re.compile(r"\\p[1-9]")


def read_track(path: str | os.PathLike, language: str = "") -> Transcript | None:
    """The transcript that is a video's best subtitle track (mov_text, SubRip, WebVTT, ASS); None
    where the file has no subtitle track.

    A track in `language` ("en", "eng") where that is said, else in the language of the first sound
    track; among those, one marked as default, then the first. A track that names no language counts
    as any; those of another named language are taken only where neither `language` nor the sound
    says which is spoken. Tracks of forced lines, lyrics, comments and descriptions are passed over.
    Times are counted from the first picture, as clips are.

    Packets that cannot be decoded, and cues that cannot be, stand in `dropped`. Raises
    TranscriptError where none of its tracks is such a one, it says nothing, or the file cannot be
    read, and MissingExtra where PyAV is absent.
    """
    av = extras.require("av", "video")
    path = pathlib.Path(path)
    try:
        with contextlib.closing(av.open(str(path), metadata_errors="replace")) as container:
            if not container.streams.subtitles:
                return None
            stream = _best(path, container, language)
            origin = _first_picture(container)
            claimed = float((container.duration or 0) / av.time_base)
            cues = Collector(claimed if claimed > 0 else None)
            subtitles.collect(list(_blocks(path, container, stream, origin, cues)), cues)
    except (av.error.FFmpegError, OSError) as error:
        raise TranscriptError(
            f"{path} cannot be opened as video ({error}); check that the file is whole"
        ) from error
    if not cues.found:
        why = (
            f" ({len(cues.dropped)} left out, the first {cues.dropped[0]})" if cues.dropped else ""
        )
        raise TranscriptError(f"{path}: nothing is said in its subtitle track{why}")
    return cues.transcript()


def _first_picture(container: Any) -> float:
    """Seconds at which the first picture is shown, as far as the file says."""
    pictures = [s for s in container.streams.video if s.start_time is not None and s.time_base]
    return float(pictures[0].start_time * pictures[0].time_base) if pictures else 0.0


def _best(path: pathlib.Path, container: Any, language: str) -> Any:
    """The track to read. Raises TranscriptError naming what there is instead."""
    streams = container.streams.subtitles
    readable = [
        s for s in streams if s.codec_context is not None and s.codec_context.codec.text_sub
    ]
    if not readable:
        kinds = ", ".join(s.codec_context.name if s.codec_context else "unknown" for s in streams)
        raise TranscriptError(
            f"{path}: its subtitle tracks hold pictures or an unknown form ({kinds}), expected "
            "text (mov_text, SubRip, WebVTT, ASS); give a transcript's file"
        )
    spoken = [stream for stream in readable if not _is_marked(stream, *_FOREIGN)]
    wanted = language or next((_language(s) for s in container.streams.audio), "")
    of_language = [s for s in spoken if languages.same(wanted, _language(s))]
    fitting = of_language or [s for s in spoken if not wanted or not _language(s)]
    if not fitting:
        there = ", ".join(
            (_language(s) or "no language") + (" (forced, or a comment)" if s not in spoken else "")
            for s in readable
        )
        raise TranscriptError(
            f"{path}: no subtitle track of what is said in {wanted or 'any language'}; its tracks: "
            f"{there}; say --language, or give a transcript's file"
        )
    return max(fitting, key=lambda stream: (_is_marked(stream, "default"), -stream.index))


def _is_marked(stream: Any, *names: str) -> bool:
    """Whether the file marks a stream as any of these."""
    marks = extras.require("av", "video").stream.Disposition
    return any(stream.disposition & marks[name] for name in names)


def _language(stream: Any) -> str:
    """A stream's language, empty where none is told."""
    told = (stream.language or "").lower()
    return "" if told in ("und", "mul", "zxx", "mis") else told


def _blocks(
    path: pathlib.Path, container: Any, stream: Any, origin: float, cues: Collector
) -> Iterator[tuple[float, float, list[str]]]:
    """(start, end, lines) of each packet; one without a length lasts to the next one."""
    waiting: tuple[float, list[str]] | None = None
    for start, length, lines in _packets(path, container, stream, origin, cues):
        if waiting is not None:
            yield waiting[0], max(waiting[0], min(start, waiting[0] + _LAST_SECONDS)), waiting[1]
            waiting = None
        if not lines:
            continue
        if length > 0:
            yield start, start + length, lines
        else:
            waiting = start, lines
    if waiting is not None:
        yield waiting[0], waiting[0] + _LAST_SECONDS, waiting[1]


def _packets(
    path: pathlib.Path, container: Any, stream: Any, origin: float, cues: Collector
) -> Iterator[tuple[float, float, list[str]]]:
    """(start, length, lines) of each packet that can be decoded, seconds."""
    av = extras.require("av", "video")
    taken = 0
    for number, packet in enumerate(container.demux(stream)):
        if packet.size == 0:  # the last one, which only says that the file ends
            continue
        if (taken := taken + packet.size) > MAX_BYTES:
            raise TranscriptError(
                f"{path}: more than {MAX_BYTES:,} bytes of subtitles, expected less"
            )
        if packet.pts is None:
            cues.dropped.append(f"packet {number}: no time")
            continue
        unit = packet.time_base or stream.time_base
        start = float(packet.pts * unit) - origin
        try:
            lines = [line for part in packet.decode() for line in _lines(part.ass)]
        except av.error.FFmpegError as error:
            cues.dropped.append(f"packet {number} at {start:g} s: {type(error).__name__}")
            continue
        yield start, float((packet.duration or 0) * unit), lines


def _lines(event: bytes) -> list[str]:
    """Lines of an ASS event as the decoder gives it: eight fields, then the text, which has
    overrides in braces, \\N for a new line and \\h for a blank that does not break."""
    text = event.decode("utf-8", "replace").split(",", 8)[-1]
    if any(_DRAWING.search(override) for override in _OVERRIDE.findall(text)):
        return []  # of which the text is the coordinates of a shape
    text = _OVERRIDE.sub("", text).replace("\\h", " ").replace("\\n", "\\N")
    return text.replace("\r", "").replace("\n", "\\N").split("\\N")
