"""Ranks against sorting by hand, and chance against counting every order."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videobert_jax.tasks.metrics import ranking


def test_ranks_without_ties_are_places_in_the_sorted_list():
    random = np.random.default_rng(0)
    scores = random.normal(size=(50, 30))
    targets = random.integers(0, 30, size=50)
    expected = [
        1 + sorted(row, reverse=True).index(row[target])
        for row, target in zip(scores.tolist(), targets.tolist(), strict=True)
    ]
    assert ranking.ranks(scores, targets).tolist() == expected


@settings(deadline=None)  # thousands of orders
@given(st.lists(st.integers(0, 3), min_size=2, max_size=7), st.data())
def test_rank_of_a_tied_target_is_its_mean_place_over_all_orders_of_the_ties(values, data):
    target = data.draw(st.integers(0, len(values) - 1))
    places = [
        1 + list(order).index(target)
        for order in itertools.permutations(range(len(values)))
        if all(values[a] >= values[b] for a, b in itertools.pairwise(order))
    ]
    rank = ranking.ranks(np.array([values], float), np.array([target]))
    assert rank[0] == pytest.approx(np.mean(places))


def test_a_constant_score_gains_nothing():
    rank = ranking.ranks(np.zeros((9, 9)), np.arange(9))
    assert rank.tolist() == [5.0] * 9
    assert ranking.summary(rank, "x") == {
        "x_R1": 0.0,
        "x_R5": 1.0,
        "x_R10": 1.0,
        "x_R50": 1.0,
        "x_median_rank": 5.0,
        "x_mean_rank": 5.0,
    }


def test_a_score_that_is_not_a_number_is_refused():
    scores = np.zeros((2, 2))
    scores[0, 0] = np.nan
    with pytest.raises(ValueError, match="1 of 4 scores"):
        ranking.ranks(scores, np.arange(2))


def test_chance_is_the_mean_over_every_order():
    size = 6
    orders = np.array(list(itertools.permutations(range(size))), float)
    ranks = ranking.ranks(orders, np.zeros(len(orders), int))
    counted = ranking.summary(ranks, "x")
    for name, expected in ranking.chance(size, np.ones(3, int), "x").items():
        assert counted[name] == pytest.approx(expected), name


def test_reranking_orders_the_shortlist_and_leaves_the_rest_behind_it():
    scores = np.array([[5.0, 4.0, 3.0, 2.0, 1.0]] * 3)
    targets = np.array([2, 0, 4])
    tower = ranking.ranks(scores, targets)
    short = ranking.shortlist(scores, 3)
    assert short.tolist() == [[0, 1, 2]] * 3
    new_scores = np.array([[0.0, 1.0, 2.0]] * 3)  # the other way round
    right = short == targets[:, None]
    assert ranking.reranked(tower, right, new_scores).tolist() == [1.0, 3.0, 5.0]


def test_a_tie_does_not_lift_a_target_above_a_shortlist_that_lacks_it():
    scores, target = np.zeros((1, 5)), np.array([4])
    tower, short = ranking.ranks(scores, target), ranking.shortlist(scores, 4)
    assert tower.tolist() == [3.0] and 4 not in short
    assert ranking.reranked(tower, short == 4, np.zeros((1, 4))).tolist() == [5.0]


def test_reranking_everything_is_ranking_by_the_new_scores():
    random = np.random.default_rng(1)
    tower_scores, new = random.normal(size=(2, 8, 8))
    targets = np.arange(8)
    short = ranking.shortlist(tower_scores, 8)
    got = ranking.reranked(
        ranking.ranks(tower_scores, targets),
        short == targets[:, None],
        np.take_along_axis(new, short, 1),
    )
    assert got.tolist() == ranking.ranks(new, targets).tolist()


@settings(deadline=None)  # thousands of orders
@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=2, max_size=7).filter(
        lambda candidates: any(right for _, right in candidates)
    )
)
def test_first_rank_is_the_mean_place_of_the_first_right_one_over_all_orders_of_ties(candidates):
    values, right = zip(*candidates, strict=True)
    places = [
        1 + min(order.index(i) for i in range(len(values)) if right[i])
        for order in itertools.permutations(range(len(values)))
        if all(values[a] >= values[b] for a, b in itertools.pairwise(order))
    ]
    rank = ranking.first_ranks(np.array([values], float), np.array([right]))
    assert rank[0] == pytest.approx(np.mean(places))


def test_chance_with_several_right_answers_is_counted_over_every_order():
    size, num_right = 6, np.array([1, 2, 2, 4])
    orders = np.array(list(itertools.permutations(range(size))))  # candidate at each place
    firsts = [1.0 + (orders < count).argmax(axis=1) for count in num_right.tolist()]
    counted = ranking.summary(np.concatenate(firsts), "x")
    for name, expected in ranking.chance(size, num_right, "x").items():
        assert counted[name] == pytest.approx(expected), name


def test_reranking_counts_the_first_of_several_right_candidates():
    scores = np.array([[5.0, 4.0, 3.0, 2.0, 1.0]] * 2)
    right = np.array([[0, 1, 1, 0, 0], [0, 0, 0, 1, 1]], bool)
    tower, short = ranking.first_ranks(scores, right), ranking.shortlist(scores, 3)
    assert tower.tolist() == [2.0, 4.0]
    new_scores = np.array([[1.0, 0.0, 2.0]] * 2)
    inside = np.take_along_axis(right, short, axis=1)
    assert ranking.reranked(tower, inside, new_scores).tolist() == [1.0, 4.0]


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=9), st.integers(1, 10))
def test_a_shortlist_is_the_beginning_of_a_stable_sort(values, size):
    expected = sorted(range(len(values)), key=lambda place: -values[place])[:size]
    assert ranking.shortlist(np.array([values], float), size).tolist() == [expected]
