"""What becomes of parameters and of the optimizer's state with an update, and without one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests import rules
from videobert_jax.models import heads
from videobert_jax.training import judgement
from videobert_jax.training.state import TrainState
from videobert_jax.training.update_rule import UpdateRule

B1, B2, EPS, DECAY, NUM_STEPS = 0.9, 0.98, 1e-6, 0.1, 8


def stepped(rule: UpdateRule, state: TrainState, gradient, allowed: bool = True) -> TrainState:
    updates, opt_state = rule.update(
        gradient, state.opt_state, state.params, optax.tree.norm(gradient)
    )
    return judgement.next_state(
        state,
        jnp.asarray(allowed),
        None,
        trainable=state.params,
        updated=rule.applied(updates, state.params),
        opt_state=opt_state,
        average=None,
    )


def born(rule: UpdateRule, params) -> TrainState:
    return TrainState(jnp.zeros((), jnp.int32), params, {}, rule.begin(params)[0], None, None)


def test_a_skipped_update_leaves_the_schedule_with_the_step():
    """By AdamW in NumPy, whose moments stand still where its rate goes on; the last rate is 0."""
    schedule = optax.warmup_cosine_decay_schedule(0.0, 0.1, 2, NUM_STEPS - 1)
    adamw = optax.adamw(schedule, b1=B1, b2=B2, eps=EPS, weight_decay=DECAY)
    rule = dataclasses.replace(rules.plain_sgd(1.0), optimizer=adamw, schedule=schedule)
    generator = np.random.default_rng(0)
    value = generator.normal(size=5)
    state = born(rule, {"head": jnp.asarray(value, jnp.float32)})
    mean, square, count = np.zeros(5), np.zeros(5), 0
    for step in range(NUM_STEPS):
        gradient, allowed = generator.normal(size=5), step not in (3, 4)
        state = stepped(rule, state, {"head": jnp.asarray(gradient, jnp.float32)}, allowed)
        if allowed:
            count += 1
            mean, square = B1 * mean + (1 - B1) * gradient, B2 * square + (1 - B2) * gradient**2
            corrected = mean / (1 - B1**count), square / (1 - B2**count)
            change = corrected[0] / (np.sqrt(corrected[1]) + EPS) + DECAY * value
            value = value - float(schedule(step)) * change
        np.testing.assert_allclose(state.params["head"], value, rtol=1e-5, err_msg=f"step {step}")
    assert float(schedule(NUM_STEPS - 1)) == 0.0 and state.step == NUM_STEPS


def test_the_scale_of_similarities_comes_back_from_its_limit():
    rule, limit = rules.plain_sgd(1.0), np.float32(np.log(heads.MAXIMUM_SCALE))
    state = born(rule, {"joint_head": {"log_scale": jnp.float32(4.5), "other": jnp.ones(3)}})

    def scale(log_scale):
        return jnp.exp(heads._within_limit(log_scale))

    for gradient, expected in ((-3.0, limit), (-3.0, limit), (0.25, limit - 0.25)):
        whole = {"joint_head": {"log_scale": jnp.float32(gradient), "other": jnp.ones(3)}}
        before = state.params["joint_head"]["other"]
        state = stepped(rule, state, whole)
        found = state.params["joint_head"]["log_scale"]
        assert found == pytest.approx(expected, abs=1e-6)
        assert scale(found) == pytest.approx(np.exp(expected), rel=1e-6)
        assert jax.grad(scale)(found) == pytest.approx(np.exp(expected), rel=1e-6)
        np.testing.assert_array_equal(state.params["joint_head"]["other"], before - 1.0)
