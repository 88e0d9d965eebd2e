"""The text tower reads a BERT's vectors, and nothing learns through them."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import fakes
from videobert_jax.models.attention import allowed_pairs
from videobert_jax.models.config import BertConfig
from videobert_jax.models.frozen_bert import Bert
from videobert_jax.models.videobert import VideoBert

SIZES = BertConfig(48, 3, 40, 2, "relu", 1e-12)  # none of them the network's


@pytest.fixture(scope="module")
def network(tiny_model_config) -> tuple[VideoBert, dict[str, Any], Any]:
    """(model, its variables, all drawn at random, a block)."""
    text = dataclasses.replace(
        tiny_model_config.text, num_layers=1, input="bert_vectors", bert=SIZES
    )
    video = dataclasses.replace(tiny_model_config.video, num_layers=0)
    model = VideoBert(dataclasses.replace(tiny_model_config, text=text, video=video))
    block = fakes.on_device(fakes.block(3))
    structs = nn.unbox(jax.eval_shape(model.init, jax.random.key(0), block))
    generator = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: jnp.asarray(generator.normal(0, 0.2, leaf.shape), jnp.float32), structs
    )
    return model, variables, block


def text_inputs(block: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    return block.text_ids, block.text_segment_ids, block.text_positions


def test_the_tower_reads_a_projection_of_the_vectors(network):
    model, variables, block = network
    ids, segments, positions = text_inputs(block)
    allowed = allowed_pairs(segments, segments)
    vectors = Bert(model.config.bert).apply(
        {"params": variables["constants"]["text_embedding"]["bert"]}, ids, positions, allowed
    )
    assert vectors.shape == (*ids.shape, 48)
    params = jax.tree.map(np.asarray, variables["params"]["text_embedding"])
    values = np.asarray(vectors) @ params["project"]["kernel"] + params["project"]["bias"]
    values -= values.mean(-1, keepdims=True)
    values /= np.sqrt(np.square(values).mean(-1, keepdims=True) + model.config.norm_epsilon)
    expected = values * params["norm"]["scale"] + params["norm"]["bias"]
    call = lambda network, *inputs: network.text_embedding(*inputs)  # noqa: E731
    found = model.apply(variables, ids, positions, allowed, method=call)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    # with dropout, the BERT drops nothing
    call = lambda network, *inputs: network.text_embedding.vectors(*inputs)  # noqa: E731
    rngs = {"dropout": jax.random.key(0)}
    again = model.apply(variables, ids, positions, allowed, method=call, rngs=rngs)
    np.testing.assert_array_equal(again, vectors)


@pytest.mark.long
def test_nothing_learns_through_the_bert(network):
    model, variables, block = network
    assert set(variables["params"]["text_embedding"]) == {"project", "norm"}

    def loss(variables: dict[str, Any]) -> jax.Array:
        text = model.apply(variables, *text_inputs(block), method="encode_text")
        logits = model.apply(variables, text, method="piece_logits")
        return jnp.square(logits).sum()

    gradients = jax.jit(jax.grad(loss))(variables)
    assert not any(jnp.any(leaf) for leaf in jax.tree.leaves(gradients["constants"]))
    params = gradients["params"]
    taught = params["text_embedding"], params["text_encoder"], params["masked_language_head"]
    assert all(jnp.any(leaf) for leaf in jax.tree.leaves(taught))
    # and yet its parameters matter
    other = jax.tree.map(lambda leaf: leaf, variables)
    bert = other["constants"]["text_embedding"]["bert"]
    bert["text_encoder"] = jax.tree.map(lambda leaf: 2.0 * leaf, bert["text_encoder"])
    assert float(loss(other)) != pytest.approx(float(loss(variables)), rel=1e-3)
