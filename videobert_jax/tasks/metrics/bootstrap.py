"""Intervals by the bootstrap, over the groups in which examples depend on each other.

Groups are drawn whole, with replacement (Efron and Tibshirani 1993, chapter 8): examples of one
video share what is filmed and who speaks, so that each tells less than a new one would. Where every
group has one example this is the bootstrap over examples. Two sides are paired where both are
computed from one drawn weighting.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Shaped

DRAWS = 2000
LEVEL = 0.95
_ELEMENTS = 1 << 22  # of weights in memory at a time


def weights(
    groups: Shaped[np.ndarray, " n"], *, seed: int, draws: int = DRAWS
) -> Iterator[Float[np.ndarray, "d n"]]:
    """Yields how often each example is drawn, float64, some of the draws at a time."""
    names, of = np.unique(groups, return_inverse=True)
    random, even = np.random.default_rng(seed), np.full(len(names), 1 / len(names))
    size = max(1, _ELEMENTS // len(of))
    for first in range(0, draws, size):
        counts = random.multinomial(len(names), even, min(size, draws - first))
        yield counts.astype(np.float64)[:, of]


def means(values: Float[np.ndarray, " n"], drawn: Float[np.ndarray, "d n"]) -> np.ndarray:
    """Mean of the values of each draw, float64 [d]."""
    return drawn @ values / drawn.sum(axis=1)


def medians(values: Float[np.ndarray, " n"], drawn: Float[np.ndarray, "d n"]) -> np.ndarray:
    """Median of the values of each draw, float64 [d]: the mean of the middle two of an even number.

    Every value counts as often as it is drawn.
    """
    order = np.argsort(values)
    places = np.cumsum(drawn[:, order], axis=1)  # drawn up to here, in the order of values
    size = places[:, -1:]
    middle = np.stack([(places <= (size - 1) // 2).sum(1), (places <= size // 2).sum(1)])
    return values[order][middle].mean(axis=0)


def interval(samples: Float[np.ndarray, " d"]) -> tuple[float, float]:
    """Lower and upper end of the percentile interval of a statistic's draws."""
    low, high = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
