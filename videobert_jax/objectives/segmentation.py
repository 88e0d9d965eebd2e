"""Segmentation: what every clip shows, one of a list of steps or none of them, by cross-entropy
(COIN's task, as VideoCLIP is fine-tuned for it, Xu et al. 2021, section 5)."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from videobert_jax import schema
from videobert_jax.objectives import cross_entropy


def weight(block: schema.Batch) -> Float[Array, ""]:
    """Number of clips with a label."""
    return (block.clip_labels != schema.NO_LABEL).sum().astype(jnp.float32)


def total(logits: Float[Array, "r v w"], block: schema.Batch) -> Float[Array, ""]:
    """Sum over the clips with a label of -log of its probability, nats."""
    return cross_entropy.total_of_known(logits, block.clip_labels, schema.NO_LABEL)
