import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from videobert_jax.data import order

_WORD = (1 << 64) - 1


def _mix(x: int) -> int:
    """SplitMix64's finaliser in plain integers."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & _WORD
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & _WORD
    return x ^ (x >> 31)


def _plain_bits(seed: int, stream: int, position: int, i: int) -> int:
    golden = 0x9E3779B97F4A7C15
    state = _mix((seed + golden) & _WORD)
    for counter in (stream, position, i):
        state = _mix((state + golden * (counter + 1)) & _WORD)
    return state


@hypothesis.given(
    strategies.integers(-(2**70), 2**70),
    strategies.integers(0, 20),
    strategies.integers(0, 2**62),
    strategies.integers(0, 2**31),
)
@hypothesis.settings(deadline=None)
def test_bits_equal_plain_integer_arithmetic(seed, stream, position, i):
    assert int(order.bits(seed, stream, position, i)) == _plain_bits(seed, stream, position, i)


def test_bits_are_frozen():
    assert order.bits(0, 0, np.arange(3), 0).tolist() == [
        0x2130748AAAC80268,
        0x97693BFC00425025,
        0xAC5E1C85118BC025,
    ]
    assert order.bits(-5, 7, 10**12, np.arange(2)).tolist() == [
        0x358EA9CC14EC7460,
        0xCEDE1C75ACA25AF2,
    ]


def test_orders_are_frozen():
    assert order.feistel(0, 0, 10, np.arange(10)).tolist() == [4, 2, 8, 9, 3, 0, 5, 1, 7, 6]
    large = order.feistel(1, 2, 1_000_000_007, np.array([0, 1, 999_999_999]))
    assert large.tolist() == [18697843, 340067790, 236400736]
    grouped = order.example_ids(3, 11, 4, np.arange(22)).tolist()
    assert grouped[:11] == [4, 5, 6, 7, 8, 9, 10, 0, 1, 2, 3]
    assert grouped[11:] == [6, 7, 8, 9, 10, 0, 1, 2, 3, 4, 5]


@hypothesis.given(
    strategies.integers(0, 2**32), strategies.integers(1, 3000), strategies.integers(1, 40)
)
@hypothesis.settings(deadline=None)
def test_every_example_once_an_epoch(seed, size, read_group):
    positions = np.arange(3 * size)
    ids = order.example_ids(seed, size, read_group, positions).reshape(3, size)
    assert (np.sort(ids, axis=1) == np.arange(size)).all()


def test_a_position_gives_the_same_example_whatever_is_asked_beside_it():
    together = order.example_ids(1, 37, 5, np.arange(100))
    alone = [int(order.example_ids(1, 37, 5, np.array([p]))[0]) for p in range(100)]
    assert together.tolist() == alone


def test_read_groups_stay_together():
    ids = order.example_ids(2, 4000, 8, np.arange(4000)).reshape(-1, 8)
    assert ((ids - ids[:, :1]) % 4000 == np.arange(8)).all()
    assert not (np.diff(ids[:, 0]) == 8).all()


def test_orders_look_random():
    """Every example is as often at every rank: chi-square over 2,000 epochs of 7 examples."""
    epochs = np.repeat(np.arange(2000), 7)
    ids = order.feistel(0, epochs, 7, np.tile(np.arange(7), 2000)).reshape(-1, 7)
    counts = np.stack([np.bincount(ids[:, rank], minlength=7) for rank in range(7)])
    chi_square = ((counts - 2000 / 7) ** 2 / (2000 / 7)).sum()
    assert chi_square < 36 + 4 * np.sqrt(2 * 36)
    assert len({tuple(row) for row in ids.tolist()}) > 1500  # of 5,040 permutations


def test_draws_are_uniform_and_streams_independent():
    n = 20_000
    first = order.uniform(3, order.WINDOW, np.arange(n), 0)
    second = order.uniform(3, order.CLIP_COUNT, np.arange(n), 0)
    assert abs(first.mean() - 0.5) < 0.01 and abs(first.var() - 1 / 12) < 0.002
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.03
    below = order.integers(3, order.WINDOW, np.arange(n), 0, np.full(n, 6))
    assert np.bincount(below).shape == (6,) and np.bincount(below).min() > n / 6 * 0.93


def test_a_permutation_of_nothing_is_refused():
    with pytest.raises(ValueError, match="expected 1 or more"):
        order.feistel(0, 0, 0, np.arange(1))
