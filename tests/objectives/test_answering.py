"""The answering objective and its head beside plain NumPy."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import fakes, packed
from tests.objectives import heads
from videobert_jax import schema
from videobert_jax.models.videobert import VideoBert
from videobert_jax.objectives import answering


def test_the_loss_is_the_cross_entropy_of_examples_with_an_answer():
    block = packed.block()
    logits = np.random.default_rng(0).normal(size=(*block.answers.shape, 8)).astype(np.float32)
    expected, count = heads.expected_loss(logits, block.answers, schema.NO_ANSWER)
    assert 0 < count < block.answers.size
    block = fakes.on_device(block)
    assert float(answering.weight(block)) == count
    assert float(answering.total(jnp.asarray(logits), block)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.long
def test_it_learns_through_both_sides_and_never_tells_padding(tiny_run, tiny_model_config):
    config = dataclasses.replace(tiny_model_config, answers=packed.ANSWERS)
    model, block = VideoBert(config), fakes.on_device(packed.block())
    variables = nn.unbox(jax.jit(model.init)(jax.random.key(0), block))
    pooled = jax.random.normal(jax.random.key(1), (2, 3, config.embed_dim))
    told = np.asarray(model.apply(variables, pooled, method="answer_logits"))
    assert told.shape == (2, 3, config.padded_answers)
    assert (told[..., : packed.ANSWERS] == 0).all()  # all are as likely at first
    assert (told[..., packed.ANSWERS :] < -1e8).all()

    every = tiny_run.objectives
    gradients, learning = heads.gradients(
        model, variables, block, every, "answering", "answer_head"
    )
    parts = ("text_encoder", "video_encoder", "cross_encoder", "pooler", "answer_head")
    assert min(learning[name] for name in parts) > 0
    assert learning["matching_head"] == learning["masked_language_head"] == 0
    assert not np.asarray(gradients["answer_head"]["bias"])[packed.ANSWERS :].any()
