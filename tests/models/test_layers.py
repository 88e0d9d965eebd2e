"""Layers against their statements."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from videobert_jax.models.layers import (
    LayerNorm,
    Linear,
    dropped,
    gelu,
    keep_mask,
    standardized,
)


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


def drawn(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def test_gradients_of_the_norm_are_differences_of_its_outputs():
    values, scale, bias = drawn(2, 3, 8), 1 + drawn(8) ** 2, drawn(8)

    def normed(*of: np.ndarray) -> jax.Array:
        return standardized(*map(jnp.asarray, of), 0.1)

    check_grads(normed, (values, scale, bias), order=1, modes=["rev"])


def test_gradients_of_gelu_are_differences_of_its_outputs():
    check_grads(lambda of: gelu(jnp.asarray(of)), (2 * drawn(4, 9),), order=1, modes=["rev"])


def test_gradients_flow_where_nothing_was_dropped():
    key, values = jax.random.key(3), drawn(6, 7)
    outputs, backward = jax.vjp(lambda of: dropped(of, key, 0.25), values)
    kept = np.asarray(keep_mask(key, 0.25, values.shape))
    np.testing.assert_allclose(outputs, np.where(kept, values / 0.75, 0), rtol=1e-6)
    np.testing.assert_allclose(backward(values)[0], outputs, rtol=1e-6)
    assert 0 < kept.sum() < kept.size


@pytest.mark.parametrize("layer", ["norm", "gelu", "dropout"])
def test_a_layer_keeps_no_more_than_its_inputs_for_the_backward_pass(layer):
    """And of the norm two numbers a place, scale and bias; of dropout, not even those."""
    values, vector, key = drawn(16, 64).astype(jnp.bfloat16), drawn(64), jax.random.key(0)
    layers = {
        "norm": (lambda of: standardized(of, vector, vector, 1e-6), values.nbytes + 8 * 16 + 512),
        "gelu": (gelu, values.nbytes),
        "dropout": (lambda of: dropped(of, key, 0.1), key.nbytes),
    }
    function, most = layers[layer]
    _, backward = jax.vjp(function, values)
    kept = {id(leaf): leaf.nbytes for leaf in jax.tree.leaves(backward)}
    assert 0 < sum(kept.values()) <= most


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
