"""Where the examples of a block stand: a constant number a row, rows of about one length."""

import numpy as np
from jaxtyping import Float, Int64


def assign(costs: Float[np.ndarray, " n"], rows: int) -> Int64[np.ndarray, " n"]:
    """Example at each place, row after row: a permutation of 0 ... n - 1.

    Longest processing time first (Graham 1969), a round at a time so that every row gets the
    same number: the longest examples left go to the rows that are emptiest. One example a row
    leaves the order as it is.
    """
    examples = len(costs) // rows
    if examples * rows != len(costs):
        raise ValueError(f"{len(costs)} examples do not fill {rows} rows evenly")
    if examples == 1:
        return np.arange(rows)
    longest_first = np.argsort(-costs, kind="stable").reshape(examples, rows)
    places = np.empty((rows, examples), np.int64)
    loads = np.zeros(rows)
    for place, chosen in enumerate(longest_first):
        emptiest_first = np.argsort(loads, kind="stable")
        places[emptiest_first, place] = chosen
        loads[emptiest_first] += costs[chosen]
    return places.reshape(-1)


def fit(lengths: Int64[np.ndarray, "r e"], capacity: int) -> Int64[np.ndarray, "r e"]:
    """Lengths cut so that every row holds at most `capacity`.

    Only the longest examples of an overfull row are cut, to one level; what the level leaves
    over goes to the first of them, a unit each.
    """
    if lengths.sum(axis=1).max(initial=0) <= capacity:
        return lengths
    examples = lengths.shape[1]
    ascending = np.sort(lengths, axis=1)
    shorter = np.cumsum(ascending, axis=1) - ascending  # sum of those before, which stay whole
    levels = (capacity - shorter) // np.arange(examples, 0, -1)
    # the level belongs to the first example that it cuts
    first_cut = (ascending > levels).argmax(axis=1)
    level = np.take_along_axis(levels, first_cut[:, None], axis=1)
    overfull = lengths.sum(axis=1, keepdims=True) > capacity
    cut = np.where(overfull, np.minimum(lengths, level), lengths)
    is_cut = cut < lengths
    left_over = np.where(overfull, capacity - cut.sum(axis=1, keepdims=True), 0)
    return cut + (is_cut & (np.cumsum(is_cut, axis=1) <= left_over))


def spread(lengths: Int64[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
    """(owner, place within its owner) of every unit, int64 [sum of lengths], owners in order."""
    owners = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.cumsum(lengths) - lengths
    return owners, np.arange(len(owners)) - starts[owners]
