"""Dropout and mixing of clip features: while training alone, and right on average."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from videobert_jax.models import embeddings

RATE, KEYS = 0.25, 400


def embedding_of(model_config, **video_settings) -> embeddings.VideoEmbedding:
    video = dataclasses.replace(model_config.video, input_normalization="none", **video_settings)
    return embeddings.VideoEmbedding(
        dataclasses.replace(model_config, video=video, dropout_rate=0.0)
    )


def test_input_dropout_hides_dimensions_of_clip_features(tiny_model_config):
    module = embedding_of(tiny_model_config, input_dropout_rate=RATE)
    dim = module.config.video.feature_dim

    def feature(value: float) -> jax.Array:
        return jnp.zeros((1, 1, dim)).at[..., 0].set(value)

    places = jnp.ones((1, 1), jnp.int32), jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1), bool)
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


def test_input_mixing_takes_a_share_of_the_next_rows_real_clips(tiny_model_config):
    module = embedding_of(tiny_model_config, input_mixing_rate=RATE)
    real = np.array([[1, 1, 1], [1, 1, 0], [1, 1, 1]], bool)
    shape = (*real.shape, module.config.video.feature_dim)
    features = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    others = np.roll(features, 1, axis=0)
    both = real & np.roll(real, 1, axis=0)
    places = jnp.asarray(real, jnp.int32), jnp.zeros(real.shape, jnp.int32), ~jnp.asarray(real)
    variables = module.init(jax.random.key(0), jnp.asarray(features), *places)

    def mixed(**rngs: dict[str, jax.Array]) -> np.ndarray:
        return np.asarray(
            module.apply(variables, jnp.asarray(features), jnp.asarray(real), method="mix", **rngs)
        )

    np.testing.assert_array_equal(mixed(), features)
    shares = []
    for seed in range(KEYS // 4):
        found = mixed(rngs={"dropout": jax.random.key(seed)})
        np.testing.assert_array_equal(found[~both], features[~both])
        share = ((found - features) * (others - features)).sum(-1) / np.square(
            others - features
        ).sum(-1)
        blend = features + share[..., None] * (others - features)
        np.testing.assert_allclose(found[both], blend[both], atol=1e-5)
        shares.append([share[row][both[row]] for row in range(len(real))])
        assert max(np.ptp(row) for row in shares[-1]) < 1e-5  # one share a row
    first = np.array([[row[0] for row in rows] for rows in shares])
    assert first.min() >= 0 and RATE * 0.95 < first.max() <= RATE
    assert abs(first.mean() - RATE / 2) < 4 * RATE / (12 * first.size) ** 0.5
