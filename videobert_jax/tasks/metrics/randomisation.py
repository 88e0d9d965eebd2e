"""A paired test: may the difference of two systems come from which of them is called which?"""

from collections.abc import Callable, Iterable, Iterator

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
    names, of = np.unique(groups, return_inverse=True)

    def differences() -> Iterator[np.ndarray]:
        for swaps in _swaps(len(names), len(of), seed):
            swapped = swaps[:, of]
            one, other = np.where(swapped, second, first), np.where(swapped, first, second)
            yield statistic(one) - statistic(other)

    return _share_as_large(statistic(first[None]) - statistic(second[None]), differences())


def p_value_of_means(
    first: Float[np.ndarray, " n"],
    second: Float[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    *,
    seed: int,
) -> float:
    """`p_value` of the difference of means."""
    number = len(first)
    sides = first[:, None], second[:, None]
    return p_value_of_sums(*sides, groups, lambda sums: sums[:, 0] / number, seed=seed)


def p_value_of_sums(
    first: Float[np.ndarray, "n k"],
    second: Float[np.ndarray, "n k"],
    groups: Shaped[np.ndarray, " n"],
    figure: Statistic,
    *,
    seed: int,
) -> float:
    """`p_value` of the difference of a figure of the sums over all examples: of a group its sum is
    all that counts, and a swap moves what the two systems' differ by."""
    names, of = np.unique(groups, return_inverse=True)
    one, other = (side.sum(axis=0, keepdims=True) for side in (first, second))
    apart = second - first
    moved = np.stack([np.bincount(of, column, len(names)) for column in apart.T], axis=1)

    def differences() -> Iterator[np.ndarray]:
        for swaps in _swaps(len(names), len(names), seed):
            change = swaps.astype(np.float64) @ moved
            yield figure(one + change) - figure(other - change)

    return _share_as_large(figure(one) - figure(other), differences())


def _share_as_large(given: Float[np.ndarray, " 1"], drawn: Iterable[np.ndarray]) -> float:
    """Share of the drawn differences that are as large as the given one."""
    extreme = total = 0
    for differences in drawn:
        extreme += int((np.abs(differences) >= np.abs(given) - _EQUAL).sum())
        total += len(differences)
    return extreme / total


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
