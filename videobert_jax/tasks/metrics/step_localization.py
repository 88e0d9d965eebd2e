"""Recall of steps put into untrimmed video, by the protocol of CrossTask (Zhukov et al. 2019).

Every second of a video has a score for each step of its task. A dynamic programme puts each step
once, in the task's order, at the seconds that score most together (section 5); a step is found
where its second lies in one of its true segments.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from videobert_jax.models import step_assignment
from videobert_jax.tasks.errors import EvaluationError


@dataclasses.dataclass(frozen=True)
class Found:
    """Steps of one video of a task that were found, or are on average, and that it has."""

    task: str
    num_found: float
    num_steps: int


def assign(scores: Float[np.ndarray, "t k"]) -> Int[np.ndarray, " k"]:
    """Second of each step, int64 [k], strictly ascending, with the largest sum of scores; of equal
    sums the one with the earlier seconds, from the last step on.

    Raises EvaluationError with fewer seconds than steps, without steps, and on a score that is not
    finite.
    """
    seconds, steps = scores.shape
    _require_room(seconds, steps)
    if not np.isfinite(scores).all():
        raise EvaluationError("a score of a step is not finite; look for NaN in the features.")
    return step_assignment.assign(scores)


def chance(seconds: int, steps: int) -> Float[np.ndarray, "t k"]:
    """Probability of each second, float64 [t, k], for steps at seconds drawn without replacement.

    All ways to put the steps in order being alike, step k is at second t where k of the others are
    before it: C(t, k) C(T - 1 - t, K - 1 - k) / C(T, K). Raises EvaluationError as `assign`.
    """
    _require_room(seconds, steps)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, seconds + 1)))])  # of factorials

    def choose(n: np.ndarray, k: np.ndarray) -> np.ndarray:
        found = logs[n] - logs[np.minimum(k, n)] - logs[np.maximum(n - k, 0)]
        return np.where(k <= n, found, -np.inf)

    second, step = np.arange(seconds)[:, None], np.arange(steps)[None]
    behind = choose(seconds - 1 - second, steps - 1 - step)
    every = choose(np.array(seconds), np.array(steps))
    return np.exp(choose(second, step) + behind - every)


def evenly_spread(seconds: int, steps: int) -> Int[np.ndarray, " k"]:
    """Second of each step, int64 [k], in the middle of equal parts. Raises as `assign`."""
    _require_room(seconds, steps)
    return ((np.arange(steps) + 0.5) * seconds / steps).astype(np.int64)


def true_seconds(
    segments: Sequence[tuple[int, float, float]], *, seconds: int, steps: int
) -> Bool[np.ndarray, "t k"]:
    """Whether each second is of each step, bool [t, k], by segments (step, start, end in seconds).

    A segment has the seconds from floor(start) to before ceil(end), as the protocol rounds. Raises
    EvaluationError where there is no segment, or one of no such step or outside the video.
    """
    if not segments:
        raise EvaluationError("a video without steps has nothing to find; leave it out.")
    found = np.zeros((seconds, steps), bool)
    for step, start, end in segments:
        if not (0 <= step < steps and 0 <= start < end and math.floor(start) < seconds):
            raise EvaluationError(
                f"step {step} from {start} to {end} s; expected a step below {steps} and times in "
                f"the {seconds} s of the video."
            )
        found[math.floor(start) : math.ceil(end), step] = True
    return found


def hits(chosen: Int[np.ndarray, " k"], true: Bool[np.ndarray, "t k"]) -> Bool[np.ndarray, " k"]:
    """Which steps are found by their chosen seconds; never one that does not occur."""
    return true[chosen, np.arange(len(chosen))]


def average_recall(videos: Sequence[Found]) -> tuple[float, dict[str, float]]:
    """(mean recall over tasks, recall of each task): of a task the found steps of all its videos by
    those that occur. Raises EvaluationError without videos."""
    if not videos:
        raise EvaluationError("no video to find steps in; evaluate another split.")
    recalls = {}
    for task in sorted({of.task for of in videos}):
        of_task = [of for of in videos if of.task == task]
        recalls[task] = sum(of.num_found for of in of_task) / sum(of.num_steps for of in of_task)
    return float(np.mean(list(recalls.values()))), recalls


def _require_room(seconds: int, steps: int) -> None:
    if not 0 < steps <= seconds:
        raise EvaluationError(
            f"{steps} steps cannot be put into {seconds} seconds; expected at least one step, and "
            "a second for each."
        )
