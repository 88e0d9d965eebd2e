"""What is compared is equal, but for its speed."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import step_parts


def test_projecting_at_once_is_projecting_apart():
    inputs = jax.random.normal(jax.random.key(0), (2, 3, 8))
    kernels = jax.random.normal(jax.random.key(1), (3, 8, 2, 4))
    apart = step_parts.attention(step_parts.projected_apart)(inputs, kernels)
    at_once = step_parts.attention(step_parts.projected_at_once)(inputs, kernels)
    np.testing.assert_allclose(apart, at_once, atol=1e-5)


def test_both_dropouts_drop_a_tenth_and_scale_the_rest():
    values = jnp.ones((64, 512))
    for dropout in (
        step_parts.Dropout(step_parts.RATE),
        step_parts.nn.Dropout(step_parts.RATE, deterministic=False),
    ):
        added = np.asarray(step_parts.branch(dropout)(values, jax.random.key(0))) - 1
        assert abs((added == 0).mean() - step_parts.RATE) < 0.01
        np.testing.assert_allclose(added[added != 0], 1 / (1 - step_parts.RATE), rtol=1e-5)
