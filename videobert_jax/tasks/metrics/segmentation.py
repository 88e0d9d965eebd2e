"""Frame accuracy of segmented videos, background included (COIN, Tang et al. 2019, section 5)."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from videobert_jax.tasks.metrics.statistic import Statistic

ACCURACY, OF_STEPS = "frame_accuracy", "frame_accuracy_of_steps"


@dataclasses.dataclass(frozen=True)
class Counts:
    """Seconds of a video, those inside a step, and how many of each are told right."""

    seconds: int
    right: float
    step_seconds: int
    step_right: float

    @classmethod
    def of(
        cls, told: Int[np.ndarray, " t"], true: Int[np.ndarray, " t"], background: int
    ) -> "Counts":
        right, inside = told == true, true != background
        sums = float(right.sum()), int(inside.sum()), float((right & inside).sum())
        return cls(len(true), *sums)

    def by_chance(self, num_answers: int) -> "Counts":
        """The expectation of answers drawn alike."""
        right, step_right = self.seconds / num_answers, self.step_seconds / num_answers
        return Counts(self.seconds, right, self.step_seconds, step_right)

    def line(self) -> dict[str, float]:
        """Shares of a video, and the seconds they are of."""
        shares = {"accuracy": self.right / self.seconds}
        if self.step_seconds:
            shares["step_accuracy"] = self.step_right / self.step_seconds
        return shares


def summary(videos: list[Counts]) -> dict[str, float]:
    """Shares of the seconds of all videos, and of those inside a step where there are any."""
    every = np.array([dataclasses.astuple(of) for of in videos])
    seconds, right, step_seconds, step_right = every.sum(axis=0).tolist()
    found = {ACCURACY: right / seconds}
    return found | ({OF_STEPS: step_right / step_seconds} if step_seconds else {})


def statistics(videos: list[Counts]) -> dict[str, Statistic]:
    """How the figures of `summary` are read off lines that have a video's `Counts.line` and
    seconds."""
    read = {
        ACCURACY: Statistic.mean("accuracy", weight=("seconds",)),
        OF_STEPS: Statistic.mean("step_accuracy", weight=("step_seconds",)),
    }
    return {name: read[name] for name in summary(videos)}


def best_threshold(
    scores: Float[np.ndarray, " n"],
    right: Bool[np.ndarray, " n"],
    background: Bool[np.ndarray, " n"],
) -> float:
    """The score below which a clip is background, so that most clips are told right.

    scores: of the best label of each clip; right: whether that is its own, background: whether it
    has none. Of equally good ones the lowest. It lies halfway between scores, or as far outside
    of them as they lie apart in the mean, so that rounding moves no clip over it.
    """
    order = np.argsort(scores, kind="stable")
    values = scores[order]
    # with a threshold just above the first i: those i are background, the others are labels
    below = np.concatenate([[0], np.cumsum(background[order])])
    above = right.sum() - np.concatenate([[0], np.cumsum(right[order])])
    total = below + above
    # equal scores are on one side
    total[1:-1] = np.where(values[1:] > values[:-1], total[1:-1], -1)
    best = int(np.argmax(total))
    apart = float(values[-1] - values[0]) / len(values) or 1.0
    edges = np.concatenate([values[:1] - 2 * apart, values, values[-1:] + 2 * apart])
    return float(edges[best : best + 2].mean())
