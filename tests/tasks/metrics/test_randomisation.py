"""The test against every relabelling written out, and what it says of systems alike."""

import itertools

import numpy as np
import pytest

from videobert_jax.tasks.metrics import randomisation
from videobert_jax.tasks.metrics.statistic import Statistic


def every_relabelling(first, second, groups, statistic) -> float:
    names = sorted(set(groups))
    given, extreme = abs(statistic(first) - statistic(second)), 0
    for swaps in itertools.product([False, True], repeat=len(names)):
        swapped = dict(zip(names, swaps, strict=True))
        pairs = [
            (b, a) if swapped[g] else (a, b) for a, b, g in zip(first, second, groups, strict=True)
        ]
        one, other = np.array(pairs).T
        extreme += abs(statistic(one) - statistic(other)) >= given - 1e-9
    return extreme / 2 ** len(names)


@pytest.mark.parametrize("seed", range(4))
def test_few_groups_are_swapped_in_every_way(seed):
    random = np.random.default_rng(seed)
    first, second = random.integers(1, 6, (2, 14)).astype(float)
    groups = [f"video {i // 2}" for i in range(14)]
    for of, plain in ((Statistic.mean("x"), np.mean), (Statistic.median("x"), np.median)):
        got = of.p_value(first, second, np.ones(14), groups, seed=0)
        assert got == every_relabelling(first, second, groups, plain)
    assert randomisation.p_value_of_means(first, first, np.array(groups), seed=0) == 1.0
    weights = random.uniform(0.2, 2.0, 14)
    got = Statistic.mean("x", weight=("w",)).p_value(first, second, weights, groups, seed=0)
    weighted = (first * weights, second * weights)
    assert got == every_relabelling(*weighted, groups, lambda v: v.sum() / weights.sum())


def test_many_groups_are_drawn_and_the_two_ways_of_means_agree():
    random = np.random.default_rng(0)
    second = random.normal(size=90)
    first, groups = second + random.normal(0.25, 1.0, size=90), np.arange(90) // 3
    drawn = [
        randomisation.p_value_of_means(first, second, groups, seed=1),
        randomisation.p_value(first, second, groups, lambda v: v.mean(axis=1), seed=2),
    ]
    # the sign test of group sums by the normal distribution's tail
    sums = (first - second).reshape(30, 3).sum(axis=1)
    z = abs(sums.sum()) / np.sqrt((sums**2).sum())
    normal = 2 * (1 - np.mean(np.random.default_rng(3).normal(size=400_000) <= z))
    assert drawn == pytest.approx([normal, normal], abs=0.015)
    sure = randomisation.p_value_of_means(second + 9, second, groups, seed=1)
    assert sure == 1 / (randomisation.DRAWS + 1)


def test_systems_that_differ_by_chance_alone_are_told_apart_at_the_rate_that_is_said():
    random, groups = np.random.default_rng(7), np.repeat(np.arange(12), 4)
    found = []
    for _ in range(300):
        of_video = random.normal(size=(2, 12)).repeat(4, axis=1)  # examples of one depend wholly
        found.append(
            randomisation.p_value_of_means(of_video[0], of_video[1], groups, seed=0) <= 0.05
        )
    assert 3 <= sum(found) <= 28
