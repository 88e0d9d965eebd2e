"""Dropout of the dimensions of clip features: while training alone, and right on average."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from videobert_jax.models import embeddings

RATE, KEYS = 0.25, 400


def test_input_dropout_hides_dimensions_of_clip_features(tiny_model_config):
    video = dataclasses.replace(
        tiny_model_config.video, input_dropout_rate=RATE, input_normalization="none"
    )
    config = dataclasses.replace(tiny_model_config, video=video, dropout_rate=0.0)
    module = embeddings.VideoEmbedding(config)

    def feature(value: float) -> jax.Array:
        return jnp.zeros((1, 1, dim)).at[..., 0].set(value)

    dim = video.feature_dim
    places = jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1), bool)
    variables = module.init(jax.random.key(0), feature(1.0), *places)
    without = [module.apply(variables, feature(x), *places) for x in (0.0, 3.0, 3.0 / (1 - RATE))]
    dropped, plain, kept = map(np.asarray, without)
    assert np.abs(dropped - plain).max() > 1e-2 and np.abs(kept - plain).max() > 1e-3

    def embed(key: jax.Array) -> jax.Array:
        return module.apply(variables, feature(3.0), *places, rngs={"dropout": key})

    found = np.asarray(jax.vmap(embed)(jax.random.split(jax.random.key(1), KEYS)))
    is_dropped = np.isclose(found, dropped, atol=1e-5).all(axis=(1, 2, 3))
    is_kept = np.isclose(found, kept, atol=1e-5).all(axis=(1, 2, 3))
    assert (is_dropped ^ is_kept).all()
    assert abs(is_dropped.mean() - RATE) < 4 * (RATE * (1 - RATE) / KEYS) ** 0.5
