"""What the cook says: a sentence a step, and the transcript a speech recogniser makes of it all."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from videobert_jax.kitchen import vocabulary as words

SECONDS_PER_WORD = 0.34
UNSAID = 0.1  # share of steps that the cook does without a word
CHATTED = 0.2  # share of steps followed by words about something else
FIRST_FORM = 0.6  # share of sentences with a label's first form rather than another one
LAG_SECONDS = 0.7  # deviation of the time of words from that of what they describe


@dataclasses.dataclass(frozen=True)
class Cue:
    """A line of the transcript; `step` is the number of the step it tells of, -1 for chat."""

    start: float
    end: float
    text: str
    step: int


def describe_step(verb: str, noun: str, container: str, rng: np.random.Generator) -> str:
    """A sentence that names what is done to what, lower case and without punctuation."""
    forms = words.VERB_FORMS[verb]
    gerund = rng.random() < 0.25
    fitting = [form for form in forms if form.endswith("ing") == gerund]
    said = fitting[0] if rng.random() < FIRST_FORM else _pick(fitting, rng)
    nouns = words.OBJECT_FORMS[noun]
    named = nouns[0] if rng.random() < FIRST_FORM else _pick(nouns, rng)
    lead = _pick(words.GERUND_LEADS if gerund else words.BASE_LEADS, rng)
    article = _pick(words.ARTICLES, rng)
    if article == "this" and named.endswith("s") or article == "some" and said == "peel":
        article = "the"
    tail = _pick(words.OBJECT_TAILS[verb], rng).format(container=container)
    closing = _pick(words.CLOSINGS, rng)
    return " ".join(part for part in (lead, said, article, named, tail, closing) if part)


def transcribe(
    sentences: Sequence[str], intervals: Sequence[tuple[float, float]], rng: np.random.Generator
) -> list[Cue]:
    """Cues in order of time, as automatic captions give them.

    Words come early or late by about a second, some steps go unsaid, there is chat between, and
    people stumble. `intervals` are the steps' (start, end) in seconds.
    """
    found = []
    first = intervals[0][0] if intervals else 0.0
    if rng.random() < 0.5:
        text = _pick(words.GREETINGS, rng)
        found.append(_cue(max(0.0, first - 1.5), text, -1))
    for number, (text, (start, _)) in enumerate(zip(sentences, intervals, strict=True)):
        lag = rng.normal(0.1, LAG_SECONDS)
        if rng.random() >= UNSAID:
            found.append(_cue(max(0.0, start + lag), _stumble(text, rng), number))
        if rng.random() < CHATTED:
            after = max(0.0, start + lag) + SECONDS_PER_WORD * len(text.split()) + 0.4
            found.append(_cue(after, _pick(words.CHAT, rng), -1))
    found.sort(key=lambda cue: cue.start)
    return _without_overlaps(found)


def _cue(start: float, text: str, step: int) -> Cue:
    end = start + SECONDS_PER_WORD * len(text.split()) + 0.4
    return Cue(round(start, 2), round(end, 2), text, step)


def _without_overlaps(cues: list[Cue]) -> list[Cue]:
    """A recogniser hears one line at a time: a line ends where the next begins.

    Chat that would be cut to less than half is not said.
    """
    kept: list[Cue] = []
    for cue in reversed(cues):
        following = kept[-1].start if kept else cue.end
        if cue.step < 0 and following - cue.start < 0.5 * (cue.end - cue.start):
            continue
        if cue.start + 0.3 < following < cue.end:
            cue = dataclasses.replace(cue, end=round(following - 0.01, 2))
        kept.append(cue)
    return kept[::-1]


def _stumble(text: str, rng: np.random.Generator) -> str:
    """The sentence with a filler or a repeated word at times."""
    spoken = text.split()
    if rng.random() < 0.2:
        spoken.insert(int(rng.integers(len(spoken))), _pick(words.FILLERS, rng))
    if rng.random() < 0.05:
        place = int(rng.integers(len(spoken)))
        spoken.insert(place, spoken[place])
    return " ".join(spoken)


def _pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
