"""A paired test: may the difference of two systems come from which of them is called which?"""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Bool, Float, Shaped

DRAWS = 10_000
_ELEMENTS = 1 << 22  # of swaps in memory at a time
_EQUAL = 1e-12  # differences that are equal but for rounding

Statistic = Callable[[np.ndarray], np.ndarray]  # of the values of each row: [d, n] -> [d]


def p_value(
    first: Float[np.ndarray, " n"],
    second: Float[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    statistic: Statistic,
    *,
    seed: int,
) -> float:
    """Two-sided p-value of the paired randomisation test of a statistic's difference.

    Under the null hypothesis both systems' values may be swapped, in all examples of a group at
    once, since those depend on each other (Noreen 1989; of means, the sign-flip test). The share of
    all ways to swap that give a difference as large; where there are more than DRAWS, of DRAWS
    drawn ones and the given one (Davison and Hinkley 1997, section 4.3).
    """
    given = abs(statistic(first[None]) - statistic(second[None]))[0]
    extreme = total = 0
    names, of = np.unique(groups, return_inverse=True)
    for swaps in _swaps(len(names), len(of), seed):
        swapped = swaps[:, of]
        one, other = np.where(swapped, second, first), np.where(swapped, first, second)
        differences = np.abs(statistic(one) - statistic(other))
        extreme += int((differences >= given - _EQUAL).sum())
        total += len(swaps)
    return extreme / total


def p_value_of_means(
    first: Float[np.ndarray, " n"],
    second: Float[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    *,
    seed: int,
) -> float:
    """`p_value` of the difference of means: of a group its sum is all that counts."""
    names, of = np.unique(groups, return_inverse=True)
    of_first, of_second = (np.bincount(of, values, len(names)) for values in (first, second))
    number = len(of)
    groups = np.arange(len(names))
    return p_value(of_first, of_second, groups, lambda v: v.sum(axis=1) / number, seed=seed)


def _swaps(groups: int, examples: int, seed: int) -> Iterator[Bool[np.ndarray, "d g"]]:
    """Yields which groups are swapped: all ways there are, or DRAWS drawn ones behind none."""
    size = max(1, _ELEMENTS // examples)
    if 2**groups <= DRAWS:
        every = np.arange(2**groups)[:, None] >> np.arange(groups)[None] & 1 == 1
        yield from (every[first : first + size] for first in range(0, len(every), size))
        return
    yield np.zeros((1, groups), bool)
    random = np.random.default_rng(seed)
    for first in range(0, DRAWS, size):
        yield random.random((min(size, DRAWS - first), groups)) < 0.5
