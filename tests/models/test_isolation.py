"""No token sees another example of its row, nor padding: to the last bit."""

import dataclasses

import flax.linen as nn
import jax
import numpy as np
import pytest

from tests import fakes, packed
from videobert_jax.models.videobert import VideoBert


@pytest.fixture(scope="module")
def outputs_of(tiny_model_config):
    """Function of a block: outputs of the towers `[b, n, d]`, the fused sides, and pooled
    examples `[b, e, d]`, by name."""
    model = VideoBert(
        dataclasses.replace(
            tiny_model_config,
            text=dataclasses.replace(tiny_model_config.text, num_layers=1),
            video=dataclasses.replace(tiny_model_config.video, num_layers=1),
        )
    )

    def run(model: VideoBert, block) -> dict:
        text = model.encode_text(block.text_ids, block.text_segment_ids, block.text_positions)
        video = model.encode_video(
            block.video_features, block.video_segment_ids, block.video_positions, block.video_masked
        )
        sides = (text, block.text_segment_ids, video, block.video_segment_ids)
        fused_text, fused_video = model.fuse(*sides)
        pooled = model.pool(
            fused_text,
            block.text_segment_ids,
            fused_video,
            block.video_segment_ids,
            packed.EXAMPLES,
        )
        return {
            "text": text,
            "video": video,
            "fused_text": fused_text,
            "fused_video": fused_video,
            "pooled": pooled,
        }

    given = fakes.on_device(packed.block())
    params = nn.unbox(jax.jit(model.init)(jax.random.key(0), given))
    jitted = jax.jit(lambda block: model.apply(params, block, method=run))
    return lambda block: jax.device_get(jitted(fakes.on_device(block)))


def of_example(block, example: int) -> dict[str, np.ndarray]:
    """Where each output of `outputs_of` belongs to an example of any row; 0: padding."""
    text, video = block.text_segment_ids == example, block.video_segment_ids == example
    pooled = np.arange(1, packed.EXAMPLES + 1)[None] == example
    return {
        "text": text,
        "video": video,
        "fused_text": text,
        "fused_video": video,
        "pooled": np.broadcast_to(pooled, (packed.ROWS, packed.EXAMPLES)),
    }


@pytest.mark.parametrize("example", [0, 1, 2, 3], ids=["padding", "first", "second", "third"])
def test_others_do_not_change_by_a_bit(outputs_of, example):
    """Text-only, video-only and absent examples stand among the others, before and behind them."""
    block = packed.block()
    other = packed.block()
    generator = np.random.default_rng(1)
    text, video = block.text_segment_ids == example, block.video_segment_ids == example
    other.text_ids[text] = generator.integers(5, fakes.VOCABULARY, text.sum())
    other.video_features[video] = 10 * generator.normal(size=(video.sum(), fakes.FEATURE_DIM))
    other.video_masked[video] = False
    before, after = outputs_of(block), outputs_of(other)
    own = of_example(block, example)
    for name, values in after.items():
        changed = (values != before[name]).any(-1)
        assert not (changed & ~own[name]).any(), name
        if example:  # by itself, and by its other side, it is read
            assert changed[own[name]].mean() > 0.5, name
