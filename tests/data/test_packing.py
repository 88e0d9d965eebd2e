import itertools

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from videobert_jax.data import packing


def drawn_lengths(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(pieces, clips, pieces to write) of examples like YouCook II's: clips vary far more than
    pieces."""
    generator = np.random.default_rng(0)
    return (
        3 + generator.poisson(8.5, count),
        1 + generator.gamma(1.2, 10.0, count).astype(np.int64),
        2 + generator.poisson(9.0, count),
    )


def test_one_example_a_row_keeps_the_order():
    lengths = np.array([3, 9, 1])
    assert packing.assign([lengths, lengths[::-1].copy()], 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize(("rows", "num_sides"), [(16, 2), (15, 2), (16, 3)])
def test_rows_are_even_on_all_sides_and_every_example_stands_once(rows, num_sides):
    sides = drawn_lengths(16 * rows)[:num_sides]
    at = packing.assign(sides, rows)
    assert sorted(at.tolist()) == list(range(16 * rows))
    for lengths in sides:
        loads = lengths[at].reshape(rows, -1).sum(1)
        unpacked = lengths.reshape(rows, -1).sum(1)
        assert loads.max() / loads.mean() < 1.03 < 1.05 < unpacked.max() / unpacked.mean()


def test_no_exchange_of_two_examples_would_make_rows_more_even():
    text, video, _ = drawn_lengths(24)
    at = packing.assign([text, video], 6)

    def unevenness(at: np.ndarray) -> float:
        shares = [lengths[at].reshape(6, 4).sum(1) / lengths.sum() for lengths in (text, video)]
        return float(np.square(shares).sum())

    found = unevenness(at)
    rows = np.argsort(video[at].reshape(6, 4).sum(1), kind="stable")
    for one, other in itertools.product(range(4), repeat=2):  # of the fullest and emptiest row
        exchanged = at.copy()
        places = [rows[0] * 4 + one, rows[-1] * 4 + other]
        exchanged[places] = at[places[::-1]]
        assert unevenness(exchanged) > found - 1e-12


@pytest.mark.parametrize("absent", ["text", "video"])
def test_rows_are_even_where_one_side_is_absent(absent):
    sides = dict(zip(("text", "video"), drawn_lengths(256)[:2], strict=True))
    sides[absent] = np.zeros(256, np.int64)
    at = packing.assign([sides["text"], sides["video"]], 16)
    loads = (sides["text"] + sides["video"])[at].reshape(16, 16).sum(1)
    assert loads.max() / loads.mean() < 1.02


def test_empty_examples_have_places_too():
    nothing = np.zeros(256, np.int64)
    assert sorted(packing.assign([nothing, nothing], 16).tolist()) == list(range(256))


def test_uneven_rows_are_refused():
    with pytest.raises(ValueError, match="7 examples do not fill 2 rows"):
        packing.assign([np.ones(7, np.int64)] * 2, 2)


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
