"""The forms of masked video modelling: words as the tree gives them, and how a run starts them."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import fakes
from videobert_jax.models.config import VisualWordsConfig
from videobert_jax.models.videobert import VideoBert
from videobert_jax.schema import InputStatistics
from videobert_jax.sharding import mesh as meshes
from videobert_jax.training import optimizer, state
from videobert_jax.video.visual_words import VisualWords


@pytest.fixture(scope="module")
def words() -> VisualWords:
    """Three branches, two levels; one node has fewer children, one word lies far off."""
    generator = np.random.default_rng(0)
    levels = [generator.normal(size=(3**n, fakes.FEATURE_DIM)).astype(np.float32) for n in (1, 2)]
    levels[1][4] = np.nan
    levels[1][7] *= 9
    centre = generator.normal(size=fakes.FEATURE_DIM).astype(np.float32)
    return VisualWords(3, centre, tuple(levels), fakes.CONTRACT, {})


@pytest.fixture(scope="module")
def born(tiny_run, tiny_model_config, words):
    """(model with a head of words, its state at step 0)."""
    config = dataclasses.replace(
        tiny_model_config,
        masked_video_head="visual_words",
        visual_words=VisualWordsConfig(branching=3, depth=2),
    )
    model = VideoBert(config)
    made = optimizer.create_rule(tiny_run.optimizer, 20, model)
    mesh = meshes.create_mesh(meshes.MeshConfig(1, 1, 1), jax.devices()[:1])
    # Words are of features as they are on disk, whatever the network makes of its inputs.
    statistics = InputStatistics(*np.full((2, fakes.FEATURE_DIM), 3.0, np.float32))
    return model, state.create_state(model, made, mesh, 0, statistics, words)


def test_targets_are_the_words_of_the_clips(born, words):
    model, made = born
    draws = np.random.default_rng(1).normal(size=(5, 40, fakes.FEATURE_DIM))
    features = (words.centre + 1.5 * draws).astype(np.float16)
    found = model.apply(made.variables, jnp.asarray(features), method="video_targets")
    expected = words.assign(features.reshape(200, -1)).reshape(5, 40)
    assert len(np.unique(expected)) > 5
    np.testing.assert_array_equal(found, expected)


def test_embeddings_start_random_where_asked(born, tiny_run, words):
    model, started = born
    made = optimizer.create_rule(tiny_run.optimizer, 20, model)
    mesh = meshes.create_mesh(meshes.MeshConfig(1, 1, 1), jax.devices()[:1])
    random = state.create_state(model, made, mesh, 0, None, words, from_centroids=False)
    head, constants = random.params["masked_video_head"], random.constants["masked_video_head"]
    leaves = words.levels[-1]
    exists = ~np.isnan(leaves).any(axis=1)
    assert not np.isclose(head["words"][: len(leaves)][exists], leaves[exists]).any(axis=1).all()
    assert np.std(np.asarray(head["words"])) == pytest.approx(1.0, rel=0.1)
    jax.tree.map(np.testing.assert_array_equal, constants, started.constants["masked_video_head"])


def test_embeddings_start_from_the_centroids_and_predictions_are_cosines_with_them(born, words):
    model, made = born
    table = np.asarray(made.params["masked_video_head"]["words"])[:9]
    exists = words.exists
    np.testing.assert_array_equal(table[exists], words.levels[-1][exists])
    assert np.isfinite(table).all() and not exists.all()
    values = jnp.asarray(np.random.default_rng(2).normal(size=(2, 3, 32)), jnp.float32)
    cosines = model.apply(made.variables, values, method="video_predictions")
    assert cosines.shape == (2, 3, 128) and float(cosines[..., 9:].max()) == -1e9
    cosines = cosines[..., :9]
    assert float(jnp.abs(cosines).max()) <= 1 + 1e-5
    # turned towards a word, its cosine is 1: the prediction's own direction is found again
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    direction = np.linalg.lstsq(unit, np.asarray(cosines).reshape(6, 9).T, rcond=None)[0]
    np.testing.assert_allclose(unit @ direction, np.asarray(cosines).reshape(6, 9).T, atol=1e-4)


def test_regression_tells_the_features_that_the_model_reads(tiny_model_config):
    model = VideoBert(dataclasses.replace(tiny_model_config, masked_video_head="regression"))
    block = fakes.on_device(fakes.block(2))
    variables = jax.tree.map(jnp.asarray, nn.unbox(jax.jit(model.init)(jax.random.key(0), block)))
    mean, scale = jnp.full(fakes.FEATURE_DIM, 0.5), jnp.full(fakes.FEATURE_DIM, 2.0)
    variables["constants"]["video_embedding"] = {"mean": mean, "scale": scale}
    found = model.apply(variables, block.video_features, method="video_targets")
    expected = (np.asarray(block.video_features, np.float32) - 0.5) / 2
    np.testing.assert_allclose(found, expected, atol=1e-6)
    values = jnp.ones((2, 3, 32))
    predicted = model.apply(variables, values, method="video_predictions")
    assert predicted.shape == (2, 3, fakes.FEATURE_DIM)
