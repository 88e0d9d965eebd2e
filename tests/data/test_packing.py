import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from videobert_jax.data import packing


def test_one_example_a_row_keeps_the_order():
    assert packing.assign(np.array([3.0, 9.0, 1.0]), 3).tolist() == [0, 1, 2]


def test_rows_are_balanced_and_every_example_stands_once():
    costs = np.random.default_rng(0).gamma(2.0, size=256)
    at = packing.assign(costs, 16)
    assert sorted(at.tolist()) == list(range(256))
    loads = costs[at].reshape(16, 16).sum(1)
    unpacked = costs.reshape(16, 16).sum(1)
    assert loads.max() / loads.mean() < 1.05 < unpacked.max() / unpacked.mean()


def test_uneven_rows_are_refused():
    with pytest.raises(ValueError, match="7 examples do not fill 2 rows"):
        packing.assign(np.ones(7), 2)


def _fit_one_unit_at_a_time(row: list[int], capacity: int) -> list[int]:
    """Takes a unit from the last of the longest until the row fits."""
    row = list(row)
    while sum(row) > capacity:
        longest = max(row)
        row[max(i for i, length in enumerate(row) if length == longest)] -= 1
    return row


@hypothesis.given(
    strategies.lists(
        strategies.lists(strategies.integers(0, 40), min_size=4, max_size=4),
        min_size=1,
        max_size=5,
    ),
    strategies.integers(4, 100),
)
@hypothesis.settings(deadline=None)
def test_overfull_rows_are_cut_at_their_longest(rows, capacity):
    fitted = packing.fit(np.array(rows, np.int64), capacity)
    assert fitted.tolist() == [_fit_one_unit_at_a_time(row, capacity) for row in rows]


def test_spread():
    owners, places = packing.spread(np.array([2, 0, 3]))
    assert owners.tolist() == [0, 0, 2, 2, 2]
    assert places.tolist() == [0, 1, 0, 1, 2]
