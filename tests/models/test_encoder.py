"""Scanned, unrolled and rematerialised stacks agree; layers are initialised each for itself."""

import dataclasses

import flax.linen as nn
import jax
import numpy as np
import pytest

from tests import fakes
from videobert_jax.models import encoder
from videobert_jax.models.videobert import VideoBert
from videobert_jax.training import optimizer


@pytest.fixture(scope="module")
def model_and_variables(tiny_model_config):
    model = VideoBert(tiny_model_config)
    return model, nn.unbox(jax.jit(model.init)(jax.random.key(0), fakes.block(2)))


def outputs_and_gradients(config, variables):
    block = fakes.on_device(fakes.block(4))
    model = VideoBert(config)

    def total(params):
        variables_ = {**variables, "params": params}
        text = model.apply(
            variables_,
            block.text_ids,
            block.text_segment_ids,
            block.text_positions,
            method="encode_text",
            rngs={"dropout": jax.random.key(3)},
        )
        return (text**2).mean()

    return jax.jit(jax.value_and_grad(total))(variables["params"])


@pytest.fixture(scope="module")
def plain(tiny_model_config, model_and_variables):
    return outputs_and_gradients(tiny_model_config, model_and_variables[1])


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"unroll_layers": True}, marks=pytest.mark.long),
        {"remat": "full"},
        pytest.param({"remat": "dots"}, marks=pytest.mark.long),
    ],
    ids=str,
)
def test_how_layers_are_run_changes_nothing(tiny_model_config, model_and_variables, plain, change):
    config = dataclasses.replace(tiny_model_config, **change)
    changed = outputs_and_gradients(config, model_and_variables[1])
    assert abs(float(plain[0]) - float(changed[0])) < 1e-6
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, atol=1e-6), plain[1], changed[1]
    )


def test_dropout_is_on_exactly_where_a_key_is_given(tiny_model_config, model_and_variables):
    model, variables = model_and_variables
    block = fakes.on_device(fakes.block(4))

    @jax.jit
    def run(key):
        return model.apply(variables, block, rngs={} if key is None else {"dropout": key})

    assert np.array_equal(run(None), run(None))
    assert not np.array_equal(run(jax.random.key(1)), run(None))
    assert not np.array_equal(run(jax.random.key(1)), run(jax.random.key(2)))


def test_stacked_layers_deviate_as_single_ones_do(model_and_variables):
    stacked = model_and_variables[1]["params"]["text_encoder"]["stack"]["layers"]["layer"]
    query = stacked["attention"]["query"]["kernel"]  # [l, d, n, h]
    output = stacked["attention"]["output"]["kernel"]  # [l, n, h, d]
    assert not np.array_equal(query[0], query[1])
    for kernel in (query, output):
        assert np.asarray(kernel)[0].std() == pytest.approx(32**-0.5, rel=0.1)


def test_weight_decay_reaches_matrices_and_nothing_else(model_and_variables):
    model, _ = model_and_variables
    matrices = ("kernel", "pieces", "positions")
    for path, decayed in jax.tree_util.tree_leaves_with_path(optimizer.decay_mask(model)):
        assert decayed == (path[-1].key in matrices), jax.tree_util.keystr(path)


def test_an_example_does_not_see_its_neighbour_in_the_row(model_and_variables):
    model, variables = model_and_variables
    block = fakes.block(4)
    other = fakes.block(4)
    second = other.text_segment_ids == 2
    other.text_ids[second] = (other.text_ids[second] + 1) % fakes.VOCABULARY
    other.video_features[other.video_segment_ids == 2] += 1
    run = jax.jit(model.apply)
    before, after = (run(variables, fakes.on_device(each)) for each in (block, other))
    np.testing.assert_allclose(before[:, 0], after[:, 0], atol=1e-6)
    assert np.abs(before[:, 1] - after[:, 1]).max() > 1e-5


@pytest.mark.long
def test_keeping_attention_weights_costs_training_nothing(model_and_variables, monkeypatch):
    """What is compiled without a mutable collection is what would be without the line that sows."""
    model, variables = model_and_variables
    block = fakes.on_device(fakes.block(2))

    def compiled(**keep) -> str:
        def total(variables):
            outputs = model.apply(variables, block, rngs={"dropout": jax.random.key(3)}, **keep)
            logits, kept = outputs if keep else (outputs, {})
            return logits.sum(), kept

        gradient = jax.grad(total, has_aux=True, allow_int=True)
        return jax.jit(gradient).lower(variables).as_text()

    found = compiled()
    assert compiled(mutable=["intermediates"]) != found
    monkeypatch.setattr(nn.Module, "sow", lambda *_, **__: True)
    assert compiled() == found


def test_layers_apart_encode_as_a_stack_does(model_and_variables):
    model, variables = model_and_variables
    block = fakes.on_device(fakes.block(4))
    apart = {
        name: jax.device_put(encoder.unstacked(of)) if name == "text_encoder" else of
        for name, of in variables["params"].items()
    }
    assert set(apart["text_encoder"]["stack"]) == {"0", "1"}
    stacked, unstacked = (
        model.apply(
            {**variables, "params": params},
            block.text_ids,
            block.text_segment_ids,
            block.text_positions,
            method="encode_text",
        )
        for params in (variables["params"], apart)
    )
    np.testing.assert_allclose(unstacked, stacked, atol=1e-5)
