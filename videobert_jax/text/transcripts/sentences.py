"""Cues as sentences: what a network is trained on, where captions break wherever a line is full."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence

from videobert_jax.text.transcripts.cue import Cue, Transcript

_ENDS = ".?!\u2026\u3002"
_CLOSING = "\"')]\u201d\u2019"


@dataclasses.dataclass(frozen=True)
class Settings:
    """How cues become sentences. Words and seconds.

    min_words: a shorter sentence joins its neighbour, unless a pause of `max_gap` parts them.
    max_words: a longer one is cut, at its longest pause. pause: where speech has no punctuation, a
    gap this long ends a sentence. punctuated: full stops a word from which on text counts as
    punctuated: every 40th word at least ends a sentence.
    """

    min_words: int = 5
    max_words: int = 30
    pause: float = 0.6
    max_gap: float = 2.0
    punctuated: float = 1 / 40


def of_transcript(transcript: Transcript, settings: Settings | None = None) -> list[Cue]:
    """Sentences with their times, in order; those of a file of sentences are taken as they are."""
    if transcript.are_sentences:
        return list(transcript.cues)
    return of_cues(transcript.cues, settings)


def of_cues(cues: Sequence[Cue], settings: Settings | None = None) -> list[Cue]:
    """Sentences with their times, in order; every word of the cues is in one of them, once.

    VideoBERT punctuates its transcripts with a model (Sun et al. 2019, section 4.1); without one,
    pauses and length stand in. A cue that runs into the next one ends where that begins. Words
    that no one timed are spread over their cue by their letters.
    """
    settings = settings or Settings()
    starts = [*(cue.start for cue in cues[1:]), math.inf]
    words = [
        word
        for cue, following in zip(cues, starts, strict=False)
        for word in _timed(cue._replace(end=max(cue.start, min(cue.end, following))))
    ]
    ends = sum(_is_end(word.text) for word in words)
    by_stops = ends >= settings.punctuated * len(words)
    sentences: list[list[Cue]] = []
    for before, word in zip([None, *words], words, strict=False):
        breaks = before is None or (
            _is_end(before.text) if by_stops else word.start - before.end >= settings.pause
        )
        if breaks or (before is not None and word.start - before.end >= settings.max_gap):
            sentences.append([])
        sentences[-1].append(word)
    cut = [part for sentence in sentences for part in _cut(sentence, settings.max_words)]
    return [
        Cue(part[0].start, part[-1].end, " ".join(word.text for word in part))
        for part in _merged(cut, settings)
    ]


def _timed(cue: Cue) -> Iterator[Cue]:
    """A cue's words, each as long as the next one leaves it."""
    texts = [word for _, word in cue.words]
    if texts == cue.text.split() and texts:
        starts = [min(max(start, cue.start), cue.end) for start, _ in cue.words]
        starts = list(itertools.accumulate(starts, max))
    else:
        texts = cue.text.split()
        letters = [0, *itertools.accumulate(len(text) + 1 for text in texts)]
        span = cue.end - cue.start
        starts = [cue.start + span * before / letters[-1] for before in letters[:-1]]
    for text, (start, end) in zip(texts, itertools.pairwise([*starts, cue.end]), strict=True):
        yield Cue(start, end, text)


def _is_end(word: str) -> bool:
    return word.rstrip(_CLOSING)[-1:] in _ENDS and word.rstrip(_CLOSING) != ""


def _cut(words: list[Cue], most: int) -> list[list[Cue]]:
    """Parts of `most` words at most, cut at the longest pause of the middle half."""
    if len(words) <= most:
        return [words]
    low, high = len(words) // 4, len(words) - len(words) // 4
    gaps = [
        (words[i].start - words[i - 1].end, -abs(2 * i - len(words)), i) for i in range(low, high)
    ]
    place = max(gaps)[2]
    return _cut(words[:place], most) + _cut(words[place:], most)


def _merged(parts: list[list[Cue]], settings: Settings) -> list[list[Cue]]:
    """Neighbours joined while one of them is too short and both together are not too long."""
    out: list[list[Cue]] = []
    for part in parts:
        if out:
            last = out[-1]
            short = min(len(last), len(part)) < settings.min_words
            near = part[0].start - last[-1].end < settings.max_gap
            if short and near and len(last) + len(part) <= settings.max_words:
                last.extend(part)
                continue
        out.append(list(part))
    return out
