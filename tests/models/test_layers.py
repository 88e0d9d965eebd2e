"""Layers against their statements."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videobert_jax.models.layers import LayerNorm, Linear, keep_mask


@pytest.mark.parametrize("epsilon", [1e-12, 1e-6, 0.1])
def test_the_norm_adds_epsilon_to_the_variance(tiny_model_config, epsilon):
    config = dataclasses.replace(tiny_model_config, norm_epsilon=epsilon)
    values = 1e-3 * np.random.default_rng(0).normal(size=(2, 3, 32)).astype(np.float32)
    found, _ = LayerNorm(config).init_with_output(jax.random.key(0), jnp.asarray(values))
    deviation = np.sqrt(values.var(-1, keepdims=True) + epsilon)
    expected = (values - values.mean(-1, keepdims=True)) / deviation
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("length", [0, 3])
def test_a_projection_is_that_of_each_place_where_a_side_has_none_too(length):
    random = np.random.default_rng(0)
    values = jnp.asarray(random.normal(size=(2, length, 4, 3)).astype(np.float32))
    axes = ("heads", "head_dim", "embed")
    layer = Linear((5,), axes, jnp.dtype("float32"), ("bias",))
    found, variables = layer.init_with_output(jax.random.key(0), values)
    kernel = np.asarray(nn.unbox(variables)["params"]["kernel"])
    expected = np.einsum("blnh,nhd->bld", values, kernel)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def lowbias32_with_two_words(number: int, first: int, second: int) -> int:
    bits = number ^ first
    bits = (bits ^ bits >> 16) * 0x7FEB352D % 2**32 ^ second
    bits = (bits ^ bits >> 15) * 0x846CA68B % 2**32
    return bits ^ bits >> 16


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_a_mask_is_a_hash_of_the_places_number_and_the_key(rate):
    key, shape = jax.random.key(5), (2, 3, 7)
    first, second = (int(word) for word in jax.random.bits(key, (2,), jnp.uint32))
    hashes = [lowbias32_with_two_words(number, first, second) for number in range(2 * 3 * 7)]
    expected = np.array(hashes).reshape(shape) >= round(rate * 2**32)
    np.testing.assert_array_equal(keep_mask(key, rate, shape), expected)


def test_places_and_keys_are_dropped_independently():
    rate, shape = 0.1, (256, 512)
    keys = jax.random.split(jax.random.key(0), 32)
    dropped = ~np.asarray(jax.vmap(lambda key: keep_mask(key, rate, shape))(keys))
    variance = rate * (1 - rate)

    def require_small(means: np.ndarray, count: int, expected: float, spread: float) -> None:
        deviations = (np.asarray(means) - expected) / np.sqrt(spread / count)
        assert np.abs(deviations).max() < 5, deviations

    require_small(dropped.mean((1, 2)), shape[0] * shape[1], rate, variance)
    require_small(dropped.mean((0, 1)), 32 * shape[0], rate, variance)  # every column
    require_small(dropped.mean((0, 2)), 32 * shape[1], rate, variance)  # every row
    centred = dropped - rate
    flat = centred.reshape(32, -1)
    for lag in (1, 2, 3, 8, 64, 256, 512, 4096):
        products = (flat[:, lag:] * flat[:, :-lag]).mean(1)
        require_small(products, flat.shape[1] - lag, 0.0, variance**2)
    between_keys = flat @ flat.T / flat.shape[1]
    require_small(between_keys[np.triu_indices(32, 1)], flat.shape[1], 0.0, variance**2)
