"""Layers against their statements."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videobert_jax.models.layers import LayerNorm


@pytest.mark.parametrize("epsilon", [1e-12, 1e-6, 0.1])
def test_the_norm_adds_epsilon_to_the_variance(tiny_model_config, epsilon):
    config = dataclasses.replace(tiny_model_config, norm_epsilon=epsilon)
    values = 1e-3 * np.random.default_rng(0).normal(size=(2, 3, 32)).astype(np.float32)
    found, _ = LayerNorm(config).init_with_output(jax.random.key(0), jnp.asarray(values))
    deviation = np.sqrt(values.var(-1, keepdims=True) + epsilon)
    expected = (values - values.mean(-1, keepdims=True)) / deviation
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
