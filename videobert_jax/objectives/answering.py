"""Answering: the answer to the question that an example's text is, among the most frequent ones of
training, by cross-entropy (open-ended questions as classes: Antol et al. 2015, VQA, section 5)."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from videobert_jax import schema
from videobert_jax.objectives import cross_entropy


def weight(block: schema.Batch) -> Float[Array, ""]:
    """Number of examples with an answer that the head tells."""
    return (block.answers != schema.NO_ANSWER).sum().astype(jnp.float32)


def total(logits: Float[Array, "r e w"], block: schema.Batch) -> Float[Array, ""]:
    """Sum over the examples with an answer of -log of its probability, nats."""
    return cross_entropy.total_of_known(logits, block.answers, schema.NO_ANSWER)
