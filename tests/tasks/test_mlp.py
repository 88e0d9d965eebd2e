"""The small network learns what no linear map can, the same by the same seed."""

import numpy as np
import pytest

from videobert_jax.tasks import baselines, mlp


@pytest.fixture(scope="module", autouse=True)
def short_training():
    """It is trained as long as by users, unlike in the other tests of tasks."""


@pytest.fixture(scope="module")
def xor():
    random = np.random.default_rng(0)
    features = random.normal(size=(600, 4)).astype(np.float32)
    labels = (features[:, 0] * features[:, 1] > 0).astype(int)
    return features, labels, np.repeat(np.arange(60), 10)


def test_it_separates_what_is_not_linear(xor):
    features, labels, videos = xor
    fresh = np.random.default_rng(1).normal(size=(400, 4)).astype(np.float32)
    expected = (fresh[:, 0] * fresh[:, 1] > 0).astype(int)
    model = mlp.fit(features, labels, 2, videos, seed=0)
    linear = baselines.fit_classifier(features, labels, 2, videos, seed=0)
    assert (model.predict(fresh).argmax(axis=1) == expected).mean() > 0.85
    assert (linear.predict(fresh).argmax(axis=1) == expected).mean() < 0.65


def test_a_seed_gives_the_same_network_and_another_seed_another(xor, monkeypatch):
    monkeypatch.setattr(mlp, "ROUNDS", 2)
    features, labels, videos = xor
    of = [mlp.fit(features, labels, 2, videos, seed=s).predict(features) for s in (0, 0, 1)]
    np.testing.assert_array_equal(of[0], of[1])
    assert np.abs(of[0] - of[2]).max() > 1e-3


def test_training_stops_early_where_labels_say_nothing():
    random = np.random.default_rng(0)
    features = random.normal(size=(200, 30)).astype(np.float32)
    labels = (random.random(200) < 0.1).astype(int)  # the frequent one is the best answer
    model = mlp.fit(features, labels, 2, np.repeat(np.arange(20), 10), seed=0)
    assert model.num_steps < mlp.ROUND * mlp.ROUNDS
