"""Where the examples of a block stand: a constant number a row, rows of about one length."""

import functools
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

_MOST_ROUNDS = 64  # of exchanges; blocks of 256 examples are even after 10 to 20


def assign(sides: Sequence[Int64[np.ndarray, " n"]], rows: int) -> Int64[np.ndarray, " n"]:
    """Example at each place, row after row: a permutation of 0 ... n - 1.

    `sides` are the examples' lengths on each: text, video, captions to write. Rows come out of
    about one length on all of them. Examples are dealt by the sum of their shares; then rows
    exchange examples, a pair at a time, for as long as that lowers the sum of squares of the rows'
    shares. One example a row leaves the order as it is.
    """
    count = len(sides[0])
    examples = count // rows
    if examples * rows != count:
        raise ValueError(f"{count} examples do not fill {rows} rows evenly")
    if examples == 1 or rows == 1:
        return np.arange(count)
    lengths = np.stack(sides)
    totals = np.maximum(lengths.sum(axis=1), 1)
    scale = math.prod(totals.tolist())  # shares as integers
    factors = np.array([scale // total for total in totals.tolist()])
    places = _deal((lengths * factors[:, None]).sum(axis=0), rows)
    _exchange(places, lengths, totals)
    return places.reshape(-1)


def _deal(costs: Int64[np.ndarray, " n"], rows: int) -> Int64[np.ndarray, "r e"]:
    """Rows of examples of about one cost: longest processing time first (Graham 1969), a round at
    a time so that every row gets the same number: the dearest examples left go to the rows that
    are emptiest."""
    dearest_first = np.argsort(-costs, kind="stable").reshape(-1, rows)
    places = np.empty((rows, len(dearest_first)), np.int64)
    loads = np.zeros(rows, np.int64)
    for place, chosen in enumerate(dearest_first):
        emptiest_first = np.argsort(loads, kind="stable")
        places[emptiest_first, place] = chosen
        loads[emptiest_first] += costs[chosen]
    return places


def _exchange(
    places: Int64[np.ndarray, "r e"],
    lengths: Int64[np.ndarray, "s n"],
    totals: Int64[np.ndarray, " s"],
) -> None:
    """Evens out `places`: fullest and emptiest rows of a side, the sides in turn, exchange the two
    examples that lower the sum of squared shares most.

    Arithmetic is of integers, and elementwise where it is not, so that every machine finds the
    same places.
    """
    half = len(places) // 2
    weights = (1.0 / totals.astype(np.float64) ** 2)[:, None, None, None]
    loads = lengths[:, places].sum(axis=2)
    idle = 0
    for number in range(_MOST_ROUNDS):
        fullest_first = np.argsort(-loads[number % len(loads)], kind="stable")
        full, empty = fullest_first[:half], fullest_first[::-1][:half]
        gained = lengths[:, places[empty]][:, :, None] - lengths[:, places[full]][..., None]
        gaps = (loads[:, full] - loads[:, empty])[..., None, None]
        changes = weights * (gained * (gaps + gained))  # [side, pair, of full, of empty]
        changes = functools.reduce(np.add, changes).reshape(half, -1)
        best = changes.argmin(axis=1)
        pairs = np.flatnonzero(np.take_along_axis(changes, best[:, None], axis=1)[:, 0] < 0)
        idle = 0 if len(pairs) else idle + 1
        if idle == len(loads):  # no side finds an exchange
            return
        given, taken = np.divmod(best[pairs], places.shape[1])
        full, empty = full[pairs], empty[pairs]
        loads[:, full] += gained[:, pairs, given, taken]
        loads[:, empty] -= gained[:, pairs, given, taken]
        places[full, given], places[empty, taken] = places[empty, taken], places[full, given]


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
