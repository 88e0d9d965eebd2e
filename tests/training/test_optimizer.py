"""Rates of layers, frozen modules, and the moving average, against a network that is not scanned.

Stacked leaves break idioms of optimizers in silence, so the statement that is compared with has a
leaf a layer, and names its leaves where the package goes by axes.
"""

import dataclasses
import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests import fakes
from videobert_jax.models import encoder
from videobert_jax.models.videobert import VideoBert
from videobert_jax.sharding import mesh as meshes
from videobert_jax.training import manifest, optimizer, state, steps
from videobert_jax.training.update_rule import UpdateRule

NUM_STEPS = 3
RATE, DECAY, WEIGHT_DECAY = 0.02, 0.5, 0.1
FROZEN = ("video_embedding", "pooler")
# Power of the decay by name, from the heads down: a cross-modal layer, then 1 of text, 2 of video.
POWERS = {
    r"text_embedding/": 3,
    r"text_encoder/stack/layer_0/": 2,
    r"text_encoder/norm/": 1,
    r"video_encoder/stack/layer_0/": 3,
    r"video_encoder/stack/layer_1/": 2,
    r"video_encoder/norm/": 1,
    r"cross_encoder/stack/layer_0/": 1,
    r"cross_encoder/(text|video)_norm/": 0,
    r"\w+_head/": 0,
    r"decoder/": 0,
}
TAUGHT = r"(text|video|cross)_en.*/expand/kernel|text_embedding/pieces|masked_language_head/"


class UnscannedStack(nn.Module):
    """In the place of `encoder.Stack`: layers one after the other, each with leaves of its own."""

    layer: type[nn.Module]
    config: object
    num_layers: int

    @nn.compact
    def __call__(self, inputs, allowed):
        for number in range(self.num_layers):
            inputs = self.layer(self.config, name=f"layer_{number}")(inputs, allowed)
        return inputs


def unscanned(leaves):
    """Leaves by name, of a stack one a layer."""
    found = {}
    for name, leaf in leaves.items():
        if "/stack/layers/layer/" not in name:
            found[name] = leaf
            continue
        for number, values in enumerate(leaf):
            found[name.replace("/layers/layer/", f"/layer_{number}/")] = values
    return found


def label(path, _):
    """What multi_transform goes by: "frozen", or "POWER decayed" and "POWER plain"."""
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    if name.startswith(FROZEN):
        return "frozen"
    (power,) = [power for pattern, power in POWERS.items() if re.match(pattern, name)]
    matrix = name.endswith(("/kernel", "/pieces", "/positions"))
    return f"{power} {'decayed' if matrix else 'plain'}"


def stated_optimizer(params):
    """AdamW by labels: a rate and a decay of its own for each group of leaves."""
    labels = jax.tree_util.tree_map_with_path(label, params)

    def adamw(power, weight_decay):
        return optax.adamw(
            lambda count: jnp.where(count < 1, 0.0, RATE * DECAY**power),
            b1=0.9,
            b2=0.98,
            eps=1e-3,
            weight_decay=weight_decay,
        )

    groups = {f"{power} decayed": adamw(power, WEIGHT_DECAY) for power in range(4)}
    groups |= {f"{power} plain": adamw(power, 0.0) for power in range(4)}
    frozen = jax.tree.map(lambda name: name == "frozen", labels)
    return optax.chain(
        optax.masked(optax.set_to_zero(), frozen),  # they count nothing in the global norm
        optax.clip_by_global_norm(1.0),
        optax.multi_transform({**groups, "frozen": optax.set_to_zero()}, labels),
    )


@pytest.fixture(scope="module")
def config(tiny_model_config):
    return dataclasses.replace(
        tiny_model_config,
        dropout_rate=0.0,  # scanned layers draw from other keys
        text=dataclasses.replace(tiny_model_config.text, num_layers=1),
    )


@pytest.fixture(scope="module")
def objectives(tiny_run):
    """One that teaches both towers: what is compiled is the same, in less time."""
    off = {
        name: dataclasses.replace(getattr(tiny_run.objectives, name), weight=0.0)
        for name in tiny_run.objectives.weights()
        if name != "masked_language"
    }
    return dataclasses.replace(tiny_run.objectives, **off)


@pytest.fixture(scope="module")
def rule_settings(tiny_run):
    return dataclasses.replace(
        tiny_run.optimizer,
        learning_rate=RATE,
        warmup_steps=1,
        end_learning_rate_fraction=1.0,
        weight_decay=WEIGHT_DECAY,
        eps=1e-3,  # Adam would make noise in a gradient of 0 as large as a gradient
        clip_norm=1.0,
        layer_decay=DECAY,
        frozen=FROZEN,
        ema_decay=0.9,
    )


def take_steps(model, rule, born, objectives):
    """The state before the first step and after each."""
    step = jax.jit(
        functools.partial(
            steps.train_step,
            model=model,
            rule=rule,
            objectives=objectives,
            seed=0,
            accumulation_steps=1,
            num_shards=1,
        )
    )
    states = [born]
    for seed in range(NUM_STEPS):
        batch = fakes.on_device(fakes.batch(1, 4, seed=seed))
        following, metrics = step(states[-1], batch)
        assert metrics["gradient_norm"] > 1.0  # so that it is clipped
        states.append(following)
    return jax.device_get(states)


@pytest.fixture(scope="module")
def states(config, objectives, rule_settings):
    model = VideoBert(config)
    rule = optimizer.create_rule(rule_settings, NUM_STEPS, model)
    mesh = meshes.create_mesh(meshes.MeshConfig(1, 1, 1), jax.devices()[:1])
    return take_steps(model, rule, state.create_state(model, rule, mesh, 0, None), objectives)


@pytest.mark.long
def test_steps_are_those_of_a_network_that_is_not_scanned(config, objectives, states, monkeypatch):
    monkeypatch.setattr(encoder, "Stack", UnscannedStack)
    model = VideoBert(config)
    born = states[0]
    params = manifest.nested(unscanned(manifest.named_leaves(born.params)))
    stated = stated_optimizer(params)
    rule = UpdateRule(
        stated,
        optax.constant_schedule(0.0),
        frozenset(),
        ema_decay=0.0,
        shard_over_data=False,
        spike_factor=0.0,
    )
    start = state.TrainState(born.step, params, born.constants, stated.init(params), None, None)
    expected = take_steps(model, rule, start, objectives)[-1].params
    before, found = (unscanned(manifest.named_leaves(s.params)) for s in (born, states[-1]))
    expected = manifest.named_leaves(expected)
    assert set(found) == set(expected) and len(found) > 100
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], atol=2e-6, err_msg=name)
        if name.startswith(FROZEN):
            np.testing.assert_array_equal(values, before[name], err_msg=name)
        elif re.match(TAUGHT, name):
            assert np.abs(values - before[name]).max() > 5e-4, name


def test_what_is_frozen_has_no_moments_and_an_average(states):
    moments = [name for name in manifest.named_leaves(states[0].opt_state) if "/mu/" in name]
    modules = {name.split("/mu/")[1].split("/")[0] for name in moments}
    assert modules == set(states[0].params) - set(FROZEN)
    assert set(states[0].ema) == set(states[0].params)


def test_the_average_is_that_of_the_parameters_so_far(states):
    expected = {n: np.float64(v) for n, v in manifest.named_leaves(states[0].params).items()}
    for after in states[1:]:
        for name, values in manifest.named_leaves(after.params).items():
            expected[name] = 0.9 * expected[name] + 0.1 * values
    found = manifest.named_leaves(states[-1].ema)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-6, err_msg=name)
    last = states[-1]
    assert last.variables["params"] is last.ema
    kernel = last.params["masked_language_head"]["hidden"]["kernel"]
    assert np.abs(last.ema["masked_language_head"]["hidden"]["kernel"] - kernel).max() > 1e-3
