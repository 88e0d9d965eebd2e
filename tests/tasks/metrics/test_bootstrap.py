"""Draws of whole groups against drawing them one by one, medians against sorting what was drawn."""

import numpy as np
import pytest

from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.metrics import bootstrap
from videobert_jax.tasks.metrics.statistic import Statistic, intervals

GROUPS = np.repeat(["b", "a", "d", "c", "e"], [1, 4, 2, 7, 3])


def test_a_drawn_group_brings_all_of_its_examples_and_draws_are_as_many_as_groups():
    drawn = np.concatenate(list(bootstrap.weights(GROUPS, seed=3)))
    assert drawn.shape == (bootstrap.DRAWS, len(GROUPS))
    first = np.unique(GROUPS, return_index=True)[1]
    assert (drawn[:, first].sum(axis=1) == 5).all() and drawn[:, first].std() > 0
    for name in np.unique(GROUPS):
        of = drawn[:, name == GROUPS]
        assert (of == of[:, :1]).all()
    assert drawn[:, first].mean(axis=0) == pytest.approx(np.ones(5), abs=0.08)


def test_draws_do_not_depend_on_how_many_are_in_memory(monkeypatch):
    whole = np.concatenate(list(bootstrap.weights(GROUPS, seed=3)))
    monkeypatch.setattr(bootstrap, "_ELEMENTS", 100)
    parts = list(bootstrap.weights(GROUPS, seed=3))
    assert len(parts) > 100
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_means_and_medians_are_those_of_the_examples_written_as_often_as_they_are_drawn():
    values = np.random.default_rng(0).integers(1, 9, len(GROUPS)).astype(float)
    drawn = np.concatenate(list(bootstrap.weights(GROUPS, seed=0)))[:200]
    written = [np.repeat(values, of.astype(int)) for of in drawn]
    assert {len(of) % 2 for of in written} == {0, 1}
    np.testing.assert_allclose(bootstrap.means(values, drawn), [of.mean() for of in written])
    np.testing.assert_array_equal(
        bootstrap.medians(values, drawn), [np.median(of) for of in written]
    )


def test_the_interval_holds_the_true_mean_about_as_often_as_it_says():
    random, held = np.random.default_rng(1), 0
    for _ in range(200):
        of_group = random.normal(size=40)  # examples of a group are near each other
        lines = [{"x": of + random.normal() / 4, "g": str(g)} for g, of in enumerate(of_group)] * 3
        groups = [line["g"] for line in lines]
        (low, high) = intervals({"m": Statistic.mean("x")}, lines, groups, seed=0)["m"]
        held += low <= 0 <= high
    assert 180 <= held <= 199


def test_lines_without_the_number_have_no_part_and_misses_count_as_zero():
    lines = [{"verb": {"rank": 1.0}}, {}, {"verb": {"rank": 3.0}}, {"verb": {}}]
    of = Statistic(("verb", "rank"), "mean", 2.0, 3, ())
    values, rows = of.read(lines)
    assert values.tolist() == [1.0, 0.0] and rows.tolist() == [0, 2]
    assert of.of(values[None], of.weights(lines, rows))[0] == 1 / 5
    assert Statistic.from_json(of.to_json()) == of
    found = intervals({"of": of, "none": Statistic.mean("noun")}, lines, ["a"] * 4, seed=0)
    assert found == {}  # one video tells nothing of others


def test_lines_count_as_much_as_their_weight_says():
    random = np.random.default_rng(3)
    lines = [{"x": float(v), "of": {"w": w}} for v, w in random.uniform(0.5, 4.0, (30, 2)).tolist()]
    of = Statistic.mean("x", weight=("of", "w"))
    values, rows = of.read(lines)
    given = [line["of"]["w"] for line in lines]
    weights = of.weights(lines, rows)
    assert of.of(values[None], weights)[0] == pytest.approx(np.average(values, weights=given))
    with pytest.raises(EvaluationError, match=r"line 1 has x without its weight, of\.w"):
        of.weights([lines[0], {"x": 1.0}], np.arange(2))
    drawn = random.integers(0, 3, (5, 30)).astype(float)
    expected = [np.average(values, weights=given * row) for row in drawn]
    np.testing.assert_allclose(of.of_draws(values, weights, drawn), expected)
    assert Statistic.from_json(of.to_json()) == of
    old = {name: value for name, value in of.to_json().items() if name != "weight"}
    assert Statistic.from_json(old) == Statistic.mean("x")
