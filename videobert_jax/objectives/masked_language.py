"""Masked language modelling (Devlin et al. 2019, section 3.1), over gathered slots."""

from jaxtyping import Array, Float

from videobert_jax import schema
from videobert_jax.objectives import cross_entropy


def weight(block: schema.Batch) -> Float[Array, ""]:
    """Number of predicted pieces."""
    return block.text_slot_weights.sum()


def total(logits: Float[Array, "r m w"], block: schema.Batch) -> Float[Array, ""]:
    """Sum of -log p(piece), nats, over the slots."""
    losses = cross_entropy.with_labels(logits, block.text_targets)
    return (losses * block.text_slot_weights).sum()
