"""Least squares and contrast on pairs whose words are a linear map of their features."""

import numpy as np
import optax
import pytest

from benchmarks import few_pairs


@pytest.fixture(scope="module")
def pairs() -> tuple[few_pairs.Pairs, few_pairs.Pairs]:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(360, 12)).astype(np.float32)
    words = features @ generator.normal(size=(12, 20)).astype(np.float32)
    return tuple(
        few_pairs.Pairs(features[rows], words[rows]) for rows in np.split(range(360), [300])
    )


def test_both_sides_find_a_linear_map(pairs, monkeypatch):
    chance = few_pairs.Found.of(np.random.default_rng(1).normal(size=(60, 60)))
    assert chance.recall < 0.5 and chance.median_rank > 15
    assert few_pairs.least_squares(*pairs)["penalty 0.1"].median_rank == 1
    monkeypatch.setattr(few_pairs, "STEPS", (1, 60))
    first, last = few_pairs.contrast(*pairs, optax.adamw(1e-2), 0.0)
    assert last.median_rank <= 2 and last.recall > 0.9 and last.recall > first.recall
