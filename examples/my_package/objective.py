"""Alignment (Wang and Isola 2020, arXiv:2005.10242): squared distance of a text and its video.

python train.py --config=configs/kitchen.py --workdir=runs/aligned
    --config.objectives.extra=my_package.objective=0.5
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from videobert_jax import schema
from videobert_jax.models.videobert import VideoBert
from videobert_jax.objectives.passes import Encoded


def weight(block: schema.Batch) -> Float[Array, ""]:
    """Number of pairs of the block; the metric is the total over this."""
    return block.pair_weights.sum()


def total(
    model: VideoBert, variables: Any, block: schema.Batch, encoded: Encoded, key: Key[Array, ""]
) -> Float[Array, ""]:
    """Sum over the pairs. Nothing is drawn and nothing more of the network is run."""
    distances = jnp.square(encoded.text_embeddings - encoded.video_embeddings).sum(-1)
    return (block.pair_weights * distances).sum()
