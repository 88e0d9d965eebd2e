"""Ridge against the normal equations solved by NumPy, and the published figure on real features."""

import json
import pathlib

import numpy as np
import pytest

from videobert_jax.tasks import baselines
from videobert_jax.tasks.metrics import ranking
from videobert_jax.tasks.metrics.relevance import Groups

YOUCOOK2 = pathlib.Path(__file__).parents[3] / "shared" / "data" / "youcook2"


def test_ridge_solves_the_penalised_normal_equations():
    random = np.random.default_rng(0)
    features = random.normal(size=(60, 9)) @ random.normal(size=(9, 9)) + 3.0
    targets = random.normal(size=(60, 4))
    train, held_out = np.arange(40), np.arange(40, 60)
    model = baselines.fit_ridge(
        features, targets, train=train, validation=held_out, quality=lambda p: -np.abs(p).max()
    )
    inputs = (features - features.mean(0)) / (features.std(0) + 1e-6)
    gram = inputs.T @ inputs
    penalty = model.penalty * np.trace(gram) / 9 * np.eye(9)
    expected = np.linalg.solve(gram + penalty, inputs.T @ (targets - targets.mean(0)))
    np.testing.assert_allclose(model.weights, expected, rtol=1e-6)
    np.testing.assert_allclose(model.predict(features).mean(0), targets.mean(0), rtol=1e-6)


def test_the_penalty_is_the_best_on_held_out_rows():
    random = np.random.default_rng(0)
    features = random.normal(size=(80, 5))
    targets = features @ random.normal(size=(5, 3))  # no noise: the least penalty is the best
    noise = random.normal(size=(80, 3)) * 100.0  # nothing to learn: the largest is the best
    rows = {"train": np.arange(40), "validation": np.arange(40, 80)}
    for values, expected in ((targets, min), (noise, max)):
        model = baselines.fit_ridge(
            features, values, quality=lambda p, v=values: -float(((p - v[40:]) ** 2).sum()), **rows
        )
        assert model.penalty == pytest.approx(expected(baselines.PENALTIES))


def test_held_out_rows_never_share_a_video_with_the_others():
    groups = np.repeat(np.arange(11), 5)
    train, held_out = baselines.held_out_rows(groups, seed=3)
    assert not set(groups[train]) & set(groups[held_out])
    assert len(train) + len(held_out) == len(groups) and len(held_out) == 10
    with pytest.raises(ValueError, match="found 1 video"):
        baselines.held_out_rows(np.zeros(4, int), seed=0)


def test_word_vectors_weigh_rare_words_more_and_ignore_unknown_ones():
    vectors = baselines.WordVectors.fit(["chop onion", "chop leek", "fry onion", "Chop, leek!"])
    rows = vectors.transform(["chop onion", "qwertz"])
    assert np.linalg.norm(rows[0]) == pytest.approx(1.0) and not rows[1].any()
    assert rows[0, vectors.index["onion"]] > rows[0, vectors.index["chop"]]
    assert "fry" not in vectors.index  # once only


def test_scores_of_ridge_are_cosines_of_said_and_predicted_words(monkeypatch):
    monkeypatch.setattr(baselines, "_ROWS", 3)  # as if there were more
    random = np.random.default_rng(0)
    texts = [f"chop w{i % 4} w{i % 3} with w{i % 5}" for i in range(40)]
    features = random.normal(size=(40, 6)).astype(np.float32)
    model = baselines.fit_retrieval(features, texts, np.arange(40) // 4, seed=0)
    asked = ["qwertz", *texts[:7]]
    ((first, scores),) = model.similarity(asked, features[:10]).blocks()
    said = model.vectors.transform(asked)
    told = model.ridge.predict(features[:10].astype(np.float64))
    lengths = np.linalg.norm(told, axis=1)
    assert first == 0 and scores.shape == (8, 10) and scores.dtype == np.float32
    np.testing.assert_allclose(scores, said @ told.T / lengths, atol=1e-6)
    assert not scores[0].any()  # no known word: all clips tie


@pytest.mark.skipif(not YOUCOOK2.is_dir(), reason="../shared/data/youcook2 is not there")
def test_ridge_reaches_the_known_figure_on_real_keyframes():
    pairs = json.loads((YOUCOOK2 / "keyframe_pairs.json").read_text())
    features = np.load(YOUCOOK2 / "keyframe_i3d_kinetics400.npz")["features"].astype(np.float32)
    train = [i for i, pair in enumerate(pairs) if pair["split"] == "training"]
    test = [i for i, pair in enumerate(pairs) if pair["split"] != "training"]
    videos = np.unique([pairs[i]["video"] for i in train], return_inverse=True)[1]
    retrieval = baselines.fit_retrieval(
        features[train], [pairs[i]["sentence"] for i in train], videos, seed=0
    )
    found = retrieval.similarity([pairs[i]["sentence"] for i in test], features[test])
    own = {"": Groups(np.arange(len(test)))}
    figures = ranking.summary(ranking.of_similarity(found, own, size=0)[0][""], "t2v")
    assert 0.10 <= figures["t2v_R10"] <= 0.18 and 60 <= figures["t2v_median_rank"] <= 80
