"""How long a step takes, told from its words by a head of its own: squared error of log2(clips).

python train.py --config=configs/kitchen.py --workdir=runs/timed
    --config.objectives.extra=my_package.duration=0.1 --config.model.extra_heads=my_package.duration
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from videobert_jax import schema
from videobert_jax.models import heads
from videobert_jax.models.config import ModelConfig
from videobert_jax.models.videobert import VideoBert
from videobert_jax.objectives import passes


class Head(nn.Module):
    """log2 of the number of clips, from vectors of a text; the video would give it away."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self, text: Float[Array, "*b d"], video: Float[Array, "*b d"] | None = None
    ) -> Float[Array, "*b"]:
        hidden = nn.gelu(nn.Dense(self.config.joint_dim, name="hidden")(text))
        return nn.Dense(1, name="length")(hidden)[..., 0]


def weight(block: schema.Batch) -> Float[Array, ""]:
    """Number of pairs of the block."""
    return block.pair_weights.sum()


def total(
    model: VideoBert,
    variables: Any,
    block: schema.Batch,
    encoded: passes.Encoded,
    key: Key[Array, ""],
) -> Float[Array, ""]:
    """Sum over the pairs."""
    examples = block.example_ids.shape[-1]
    means = heads.example_means(encoded.text, block.text_segment_ids, examples)
    numbers = jnp.arange(1, examples + 1)[None, :, None]
    clips = (block.video_segment_ids[:, None] == numbers).sum(-1)  # [r, e]
    told = passes.apply(model, variables, None, "extra_head", __name__, means)
    errors = told - jnp.log2(jnp.maximum(clips, 1))
    return (block.pair_weights * jnp.square(errors)).sum()
