"""Accuracy against counting by hand."""

import numpy as np
import pytest

from videobert_jax.tasks.metrics import classification


def test_top1_and_top5_count_the_right_labels_among_the_best():
    random = np.random.default_rng(0)
    scores = random.normal(size=(200, 12))
    labels = random.integers(0, 12, size=200)
    order = np.argsort(-scores, axis=1)
    got = classification.summary(scores, labels, "verb")
    assert got["verb_top1"] == pytest.approx(np.mean(order[:, 0] == labels))
    assert got["verb_top5"] == pytest.approx(np.mean((order[:, :5] == labels[:, None]).any(1)))


def test_chance_is_what_random_scores_give():
    random = np.random.default_rng(0)
    labels = random.integers(0, 12, size=20_000)
    got = classification.summary(random.normal(size=(20_000, 12)), labels, "object")
    for name, expected in classification.chance(12, "object").items():
        assert got[name] == pytest.approx(expected, abs=0.015), name
    assert classification.chance(3, "object")["object_top5"] == 1.0


def test_majority_predicts_the_most_frequent_training_label():
    train = np.array([2, 2, 2, 0, 1, 1])
    labels = np.array([2, 0, 2, 1])
    scores = np.repeat(classification.majority_scores(train, 4), len(labels), axis=0)
    assert classification.summary(scores, labels, "x")["x_top1"] == 0.5
