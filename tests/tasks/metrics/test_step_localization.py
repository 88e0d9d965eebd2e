"""Assignments against every one there is, and recalls counted by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videobert_jax.tasks.metrics import step_localization


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(0, 5), st.integers(0, 2**32 - 1), st.booleans())
def test_an_assignment_has_the_largest_sum_of_all_in_order(steps, more, seed, tied):
    random = np.random.default_rng(seed)
    scores = random.normal(size=(steps + more, steps))
    scores = scores.round() if tied else scores
    every = list(itertools.combinations(range(steps + more), steps))
    sums = [sum(scores[second, step] for step, second in enumerate(of)) for of in every]
    chosen = step_localization.assign(scores).tolist()
    assert chosen == sorted(set(chosen)) and len(chosen) == steps
    total = sum(scores[second, step] for step, second in enumerate(chosen))
    assert total == pytest.approx(max(sums))
    if not tied:
        assert tuple(chosen) == every[int(np.argmax(sums))]


def test_equal_sums_take_the_earlier_seconds_from_the_last_step_on():
    assert step_localization.assign(np.zeros((6, 3))).tolist() == [0, 1, 2]
    scores = np.array([[0.0, 0], [1, 0], [1, 2], [0, 0], [1, 2]])
    assert step_localization.assign(scores).tolist() == [1, 2]


def test_segments_are_rounded_outwards_and_steps_may_come_again():
    true = step_localization.true_seconds(
        [(1, 1.5, 3.2), (1, 6.0, 7.0), (0, 4.9, 5.0)], seconds=8, steps=3
    )
    assert np.flatnonzero(true[:, 1]).tolist() == [1, 2, 3, 6]
    assert np.flatnonzero(true[:, 0]).tolist() == [4] and not true[:, 2].any()
    for chosen, expected in (([4, 6, 7], 2), ([3, 4, 5], 0), ([0, 1, 2], 1)):
        hits = step_localization.hits(np.array(chosen), true)
        assert hits.sum() == expected and not hits[2]  # the third does not occur


@pytest.mark.parametrize(("seconds", "steps"), [(1, 1), (6, 1), (6, 3), (7, 5), (4, 4)])
def test_chance_is_the_share_of_all_ways_in_order(seconds, steps):
    every = np.array(list(itertools.combinations(range(seconds), steps)))
    counted = (every[:, None, :] == np.arange(seconds)[:, None]).mean(axis=0)
    np.testing.assert_allclose(step_localization.chance(seconds, steps), counted, atol=1e-12)


def test_steps_are_spread_over_equal_parts():
    assert step_localization.evenly_spread(12, 3).tolist() == [2, 6, 10]
    assert step_localization.evenly_spread(3, 3).tolist() == [0, 1, 2]


def test_recall_is_summed_a_task_and_averaged_over_tasks():
    videos = [
        step_localization.Found("tea", 3.0, 4),
        step_localization.Found("tea", 0.0, 1),
        step_localization.Found("cake", 1.0, 2),
    ]
    mean, recalls = step_localization.average_recall(videos)
    assert recalls == {"cake": 0.5, "tea": 0.6} and mean == pytest.approx(0.55)


def test_what_cannot_be_localised_is_named():
    with pytest.raises(ValueError, match="3 steps cannot be put into 2 seconds"):
        step_localization.assign(np.zeros((2, 3)))
    for of in (step_localization.chance, step_localization.evenly_spread):
        with pytest.raises(ValueError, match="3 steps cannot be put into 2 seconds"):
            of(2, 3)
    with pytest.raises(ValueError, match="0 steps"):
        step_localization.assign(np.zeros((2, 0)))
    with pytest.raises(ValueError, match="not finite"):
        step_localization.assign(np.array([[0.0], [np.nan]]))
    with pytest.raises(ValueError, match="without steps"):
        step_localization.true_seconds([], seconds=4, steps=2)
    for wrong in ((2, 0.0, 1.0), (0, 4.0, 5.0), (0, 2.0, 2.0), (0, -1.0, 2.0)):
        with pytest.raises(ValueError, match=f"step {wrong[0]} from"):
            step_localization.true_seconds([wrong], seconds=4, steps=2)
    with pytest.raises(ValueError, match="no video"):
        step_localization.average_recall([])
