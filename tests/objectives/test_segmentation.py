"""The segmentation objective and its head beside plain NumPy."""

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
from videobert_jax.objectives import segmentation


def test_the_loss_is_the_cross_entropy_of_clips_with_a_label():
    block = packed.block()
    logits = np.random.default_rng(0).normal(size=(*block.clip_labels.shape, 8)).astype(np.float32)
    expected, count = heads.expected_loss(logits, block.clip_labels, schema.NO_LABEL)
    assert 0 < count < (block.video_segment_ids > 0).sum()
    block = fakes.on_device(block)
    assert float(segmentation.weight(block)) == count
    found = float(segmentation.total(jnp.asarray(logits), block))
    assert found == pytest.approx(expected, rel=1e-5)


def test_it_learns_through_the_video_alone_and_never_tells_padding(tiny_run, tiny_model_config):
    config = dataclasses.replace(tiny_model_config, clip_labels=packed.LABELS, dropout_rate=0.0)
    model, block = VideoBert(config), fakes.on_device(packed.block())
    variables = nn.unbox(jax.jit(model.init)(jax.random.key(0), block))
    video = jax.random.normal(jax.random.key(1), (2, 3, config.embed_dim))
    told = np.asarray(model.apply(variables, video, method="clip_label_logits"))
    assert told.shape == (2, 3, config.padded_clip_labels)
    assert (told[..., : packed.LABELS + 1] == 0).all()  # all are as likely at first, none too
    assert (told[..., packed.LABELS + 1 :] < -1e8).all()

    every = tiny_run.objectives
    gradients, learning = heads.gradients(
        model, variables, block, every, "segmentation", "clip_label_head"
    )
    parts = ("video_embedding", "video_encoder", "clip_label_head")
    assert min(learning[name] for name in parts) > 0
    assert learning["text_encoder"] == learning["cross_encoder"] == learning["joint_head"] == 0
    assert not np.asarray(gradients["clip_label_head"]["bias"])[packed.LABELS + 1 :].any()
