"""METEOR 1.5 of captions by pycocoevalcap's own program, where it and Java are installed.

There is no other METEOR here: its paraphrase table and synonyms are part of the figure.
"""

import dataclasses
import shutil
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from videobert_jax.tasks.metrics import meteor
from videobert_jax.tasks.metrics.caption_pairs import CaptionPairs
from videobert_jax.tasks.metrics.statistic import Statistic

NAME, MEAN_NAME, COUNTS = meteor.NAME, "METEOR_macro", "METEOR_counts"
_EQUAL = 1e-6


@dataclasses.dataclass(frozen=True)
class Meteor:
    """value: of the corpus, or None with the reason why there is none; examples: float64 [n], of
    which it is not the mean: the program adds up what it counted of each, counts int64 [n, k]."""

    value: float | None
    examples: np.ndarray | None
    counts: np.ndarray | None
    reason: str | None

    def summary(self) -> dict[str, float]:
        """The figures that there are."""
        if self.value is None or self.examples is None:
            return {}
        return {NAME: self.value, MEAN_NAME: float(self.examples.mean())}

    def line(self, row: int) -> dict[str, object]:
        """What the line of an example has, for `statistics`."""
        if self.examples is None or self.counts is None:
            return {}
        return {NAME: float(self.examples[row]), COUNTS: self.counts[row].tolist()}

    def statistics(self) -> dict[str, Statistic]:
        """How figures are read off lines."""
        if self.examples is None:
            return {}
        return {NAME: Statistic.of_sums(NAME, COUNTS), MEAN_NAME: Statistic.mean(NAME)}


def score(every: Sequence[CaptionPairs]) -> list[Meteor]:
    """METEOR of each system's candidates beside their references; the program is begun once."""
    program = _program()
    if isinstance(program, str):
        return [_none(program)] * len(every)
    try:
        return [_of(program, pairs) for pairs in every]
    except (OSError, ValueError) as error:
        if program.lock.locked():
            program.lock.release()  # else its end waits for it for ever
        return [_none(f"pycocoevalcap's METEOR failed: {error}")] * len(every)


def _none(reason: str) -> Meteor:
    return Meteor(None, None, None, reason)


def _program() -> Any:
    """The program, under way, or why there is none."""
    if shutil.which("java") is None:
        return "METEOR needs Java, and there is no `java` on the PATH"
    try:
        from pycocoevalcap.meteor.meteor import Meteor as Program  # pyright: ignore[reportMissingImports] (of test-parity)
    except ImportError as error:
        return f"METEOR needs pycocoevalcap (pip install it): {error}"

    class Keeping(Program):
        """Keeps what it says of each caption, which it reads off to itself alone."""

        def __init__(self):
            super().__init__()
            self.lines: list[str] = []

        def _stat(self, hypothesis_str: str, reference_list: list[str]) -> str:
            self.lines.append(super()._stat(hypothesis_str, reference_list))
            return self.lines[-1]

    program: Any = Keeping()
    # it writes more to its error stream than a pipe holds where nobody reads
    reader = threading.Thread(target=program.meteor_p.stderr.read, daemon=True)
    reader.start()
    return program


def _of(program: Any, pairs: CaptionPairs) -> Meteor:
    keys = range(len(pairs.ids))
    references = {key: list(pairs.references[key]) for key in keys}
    candidates = {key: [pairs.candidates[key]] for key in keys}
    program.lines.clear()
    value, examples = program.compute_score(references, candidates)
    counts = meteor.counts(program.lines)
    (told,) = meteor.of_sums(counts.sum(axis=0, keepdims=True, dtype=np.float64)).tolist()
    if abs(told - value) > _EQUAL:
        raise ValueError(f"it says {value}, and its counts {told}; expected METEOR 1.5")
    return Meteor(float(value), np.array(examples, np.float64), counts, None)
