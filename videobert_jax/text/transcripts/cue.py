"""A cue, and what becomes of cues that cannot be."""

import dataclasses
import html
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

MAX_CHARACTERS = 5_000  # of a cue; ten minutes of speech, written at once
_TAG = re.compile(r"<[^<>]{0,200}>")
_SPEAKER = re.compile(r"(?:^|\s)>>+\s*")
_NOISE = re.compile(r"[\[(♪][^\])♪]{0,80}[\])♪]")
_TOUCHING = 0.15  # seconds between cues of which one rolls on from the other


class TranscriptError(ValueError):
    """A file that is no transcript."""


class Cue(NamedTuple):
    """What is said from `start` to `end`, in seconds; `words`, where known, with their starts."""

    start: float
    end: float
    text: str
    words: tuple[tuple[float, str], ...] = ()


@dataclasses.dataclass
class Transcript:
    """Cues in the order of time, and why others were left out.

    are_sentences: each cue is a sentence already, as in the files that this package writes.
    """

    cues: list[Cue]
    dropped: list[str] = dataclasses.field(default_factory=list)
    are_sentences: bool = False


def plain(text: str, noises: bool = False) -> str:
    """Text on one line, without tags, entities, marks of speakers (>>) and, unless `noises`, what
    stands in brackets for sounds ([Music])."""
    text = html.unescape(_TAG.sub("", text)).replace("\x00", " ").replace("\ufffd", " ")
    text = text.encode("utf-8", "ignore").decode()  # halves of surrogate pairs, as JSON may hold
    text = _SPEAKER.sub(" ", text)
    return " ".join((text if noises else _NOISE.sub(" ", text)).split())


def number(value: Any) -> float:
    """Seconds. Raises ValueError where it is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is no time")
    try:
        found = float(value)
    except OverflowError as error:  # a whole number of more than 308 digits
        raise ValueError(f"{value!r:.40} is no time") from error
    if not math.isfinite(found):
        raise ValueError(f"{value!r} is no time")
    return found


class Collector:
    """Cues as they are found; those that cannot be are told in `dropped`."""

    def __init__(self, duration: float | None):
        self.found: list[Cue] = []
        self.dropped: list[str] = []
        self.are_sentences = False
        self._duration = duration

    def add(
        self, where: str, start: Any, end: Any, text: Any, words: Sequence[tuple[float, str]] = ()
    ) -> None:
        try:
            begin, until = number(start), number(end)
        except ValueError as error:
            self.dropped.append(f"{where}: {error}")
            return
        if not isinstance(text, str):
            self.dropped.append(f"{where}: a text of type {type(text).__name__}")
        elif len(text) > MAX_CHARACTERS:
            self.dropped.append(f"{where}: {len(text):,} characters in one cue")
        elif begin < 0 or until < begin:
            self.dropped.append(f"{where}: from {begin:g} to {until:g} s")
        elif self._duration is not None and begin >= self._duration:
            self.dropped.append(f"{where}: begins at {begin:g} s of {self._duration:g} s")
        elif said := plain(text):
            until = until if self._duration is None else min(until, self._duration)
            self.found.append(Cue(begin, until, said, tuple(words)))

    def transcript(self) -> Transcript:
        """The cues by their start."""
        cues = sorted(self.found, key=lambda cue: (cue.start, cue.end))
        return Transcript(cues, self.dropped, self.are_sentences)


def without_rolling(
    cues: Iterable[tuple[float, float, list[str]]],
) -> list[tuple[float, float, list[str]]]:
    """Cues (start, end, lines) without the lines that the one before still shows.

    Captions that roll show a line again above the next one, and between two cues the last line
    alone for some milliseconds.
    """
    kept: list[tuple[float, float, list[str]]] = []
    shown: list[str] = []
    until = -math.inf
    for start, end, lines in cues:
        bare = [plain(line, noises=True) for line in lines]
        pairs = [(line, text) for line, text in zip(lines, bare, strict=True) if text]
        texts = [text for _, text in pairs]
        again = 0
        if start - until <= _TOUCHING:
            again = max((n for n in range(1, len(texts) + 1) if shown[-n:] == texts[:n]), default=0)
        if texts:
            shown, until = texts, end
        if fresh := [line for line, _ in pairs[again:]]:
            kept.append((start, end, fresh))
    return kept
