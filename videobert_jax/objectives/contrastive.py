"""Symmetric contrastive alignment over the global batch (CLIP, Radford et al. 2021, section 2.3).

Alike pairs are left out of the candidates, so that a twin is neither positive nor negative.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from videobert_jax import schema
from videobert_jax.objectives import cross_entropy, twins


def weight(batch: schema.Batch) -> Float[Array, ""]:
    """Number of pairs."""
    return batch.pair_weights.sum()


def total(
    text: Float[Array, "n j"],
    video: Float[Array, "n j"],
    scale: Float[Array, ""],
    batch: schema.Batch,
    clip_distance: int,
) -> Float[Array, ""]:
    """Sum of -log p(partner), nats, averaged over the two directions.

    `text` and `video` have norm 1 and the order of `batch.example_ids` flattened; a row without a
    pair (weight 0) is no candidate.
    """
    identity = twins.example_identity(batch)
    weights = batch.pair_weights.reshape(-1)
    alike = twins.alike_pairs(identity, identity, clip_distance)
    allowed = ~alike & (weights > 0)[None]
    positive = jnp.eye(weights.shape[0], dtype=bool)
    similarities = scale * jax.lax.dot_general(
        text, video, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32
    )
    to_video = cross_entropy.with_positive(similarities, positive, allowed)
    to_text = cross_entropy.with_positive(similarities.T, positive, allowed)
    return 0.5 * ((to_video + to_text) * weights).sum()
