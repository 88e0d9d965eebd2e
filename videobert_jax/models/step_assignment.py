"""Steps put into a video in their order, by what every moment of it scores for each of them."""

import numpy as np
from jaxtyping import Float, Int


def assign(scores: Float[np.ndarray, "t k"]) -> Int[np.ndarray, " k"]:
    """Moment of each step, int64 [k], strictly ascending, with the largest sum of scores; of equal
    sums the one with the earlier moments, from the last step on (CrossTask: Zhukov et al. 2019,
    section 5). Scores are finite, and of no fewer moments than steps."""
    moments, steps = scores.shape
    best = np.zeros(moments)  # of the steps so far, with the last of them at a moment or before
    places = np.zeros((steps, moments), np.int64)  # of that last one
    for step in range(steps):
        ends_here = scores[:, step] + (best if step == 0 else np.r_[-np.inf, best[:-1]])
        best = np.maximum.accumulate(ends_here)
        is_new = np.r_[True, ends_here[1:] > best[:-1]]
        places[step] = np.maximum.accumulate(np.where(is_new, np.arange(moments), 0))
    chosen = np.zeros(steps, np.int64)
    last = moments - 1
    for step in reversed(range(steps)):
        chosen[step] = places[step, last]
        last = chosen[step] - 1
    return chosen
