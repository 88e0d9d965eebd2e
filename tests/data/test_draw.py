import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from videobert_jax.data import draw, order


@hypothesis.given(strategies.lists(strategies.floats(0.01, 100), min_size=1, max_size=5))
@hypothesis.settings(deadline=None)
def test_each_source_counts_its_own_blocks_in_its_proportion(weights):
    schedule = draw.schedule(weights)
    seen = [schedule.locate(k) for k in range(400)]
    for source, weight in enumerate(weights):
        numbers = [number for s, number in seen if s == source]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) == schedule.counts(400)[source]
        expected = np.arange(401) * weight / sum(weights)
        given = np.concatenate([[0], np.cumsum([s == source for s, _ in seen])])
        assert np.abs(given - expected).max() <= len(weights)


def test_block_numbers_stay_exact_far_out():
    schedule = draw.schedule([0.7, 0.2, 0.1])
    far = 10**15
    assert sum(schedule.counts(far)) == far
    counts = schedule.counts(far)
    for k in range(far, far + 50):
        source, number = schedule.locate(k)
        assert number == counts[source]
        counts[source] += 1


def test_weights_must_be_positive():
    with pytest.raises(ValueError, match="all positive"):
        draw.schedule([1.0, 0.0])


def test_random_windows_take_every_start_and_stay_inside():
    counts, kept = np.full(3000, 9), np.full(3000, 4)
    seeds = order.bits(0, order.EXAMPLE, np.arange(3000), 0)
    starts = draw.random_window(counts, kept, seeds)
    assert np.bincount(starts).shape == (6,) and np.bincount(starts).min() > 400
    whole = draw.random_window(np.array([5, 0, 1]), np.array([5, 0, 1]), seeds[:3])
    assert whole.tolist() == [0, 0, 0]


def test_centred_windows():
    assert draw.centred_window(np.array([9, 8, 3]), np.array([4, 4, 3])).tolist() == [2, 2, 0]
