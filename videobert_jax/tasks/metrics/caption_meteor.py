"""METEOR 1.5 of captions by pycocoevalcap's own program, where it and Java are installed.

There is no other METEOR here: its paraphrase table and synonyms are part of the figure.
"""

import dataclasses
import shutil
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from videobert_jax.tasks.metrics.caption_pairs import CaptionPairs
from videobert_jax.tasks.metrics.statistic import Statistic

NAME, MEAN_NAME = "METEOR", "METEOR_macro"


@dataclasses.dataclass(frozen=True)
class Meteor:
    """value: of the corpus, or None with the reason why there is none; examples: float64 [n], of
    which it is not the mean: the program adds up what it counted of each."""

    value: float | None
    examples: np.ndarray | None
    reason: str | None

    def summary(self) -> dict[str, float]:
        """The figures that there are."""
        if self.value is None or self.examples is None:
            return {}
        return {NAME: self.value, MEAN_NAME: float(self.examples.mean())}

    def line(self, row: int) -> dict[str, float]:
        """What the line of an example has, for `statistics`."""
        return {} if self.examples is None else {NAME: float(self.examples[row])}

    def statistics(self) -> dict[str, Statistic]:
        """How a figure is read off lines."""
        return {} if self.examples is None else {MEAN_NAME: Statistic.mean(NAME)}


def score(every: Sequence[CaptionPairs]) -> list[Meteor]:
    """METEOR of each system's candidates beside their references; the program is begun once."""
    program = _program()
    if isinstance(program, str):
        return [Meteor(None, None, program)] * len(every)
    try:
        return [_of(program, pairs) for pairs in every]
    except (OSError, ValueError) as error:
        if program.lock.locked():
            program.lock.release()  # else its end waits for it for ever
        failed = Meteor(None, None, f"pycocoevalcap's METEOR failed: {error}")
        return [failed] * len(every)


def _program() -> Any:
    """The program, under way, or why there is none."""
    if shutil.which("java") is None:
        return "METEOR needs Java, and there is no `java` on the PATH"
    try:
        from pycocoevalcap.meteor.meteor import Meteor as Program  # pyright: ignore[reportMissingImports] (of test-parity)
    except ImportError as error:
        return f"METEOR needs pycocoevalcap (pip install it): {error}"
    program: Any = Program()
    # it writes more to its error stream than a pipe holds where nobody reads
    reader = threading.Thread(target=program.meteor_p.stderr.read, daemon=True)
    reader.start()
    return program


def _of(program: Any, pairs: CaptionPairs) -> Meteor:
    keys = range(len(pairs.ids))
    references = {key: list(pairs.references[key]) for key in keys}
    candidates = {key: [pairs.candidates[key]] for key in keys}
    value, examples = program.compute_score(references, candidates)
    return Meteor(float(value), np.array(examples, np.float64), None)
