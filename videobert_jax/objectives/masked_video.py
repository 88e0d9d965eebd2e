"""Masked video modelling: which clip of the block was here? Noise-contrastive, not regression.

As in HERO (Li et al. 2020, section 3.2, MNCE) and UniVL (Luo et al. 2020, section 3.3): the
candidates are the uncorrupted clips of the whole block, which costs no communication.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from videobert_jax import schema
from videobert_jax.objectives import cross_entropy, twins


def weight(block: schema.Batch) -> Float[Array, ""]:
    """Number of predicted clips."""
    return block.video_slot_weights.sum()


def total(
    predictions: Float[Array, "r m j"],
    targets: Float[Array, "r v j"],
    block: schema.Batch,
    *,
    temperature: float,
    clip_distance: int,
) -> Float[Array, ""]:
    """Sum of -log p(clip), nats, over the slots; both arguments have norm 1."""
    rows, length = block.video_segment_ids.shape
    identity = twins.position_identity(block)
    at_slots = twins.Identity(
        *(jnp.take_along_axis(values, block.video_slots, axis=1) for values in identity)
    )
    alike = twins.alike_pairs(at_slots, identity, clip_distance)
    own = (jnp.arange(rows)[:, None] * length + block.video_slots).reshape(-1, 1)
    positive = own == jnp.arange(rows * length)[None]
    real = (block.video_segment_ids != schema.NO_SEGMENT).reshape(1, -1)
    logits = jax.lax.dot_general(
        predictions.reshape(-1, predictions.shape[-1]),
        targets.reshape(-1, targets.shape[-1]),
        (((1,), (1,)), ((), ())),
        preferred_element_type=jnp.float32,
    )
    losses = cross_entropy.with_positives(logits / temperature, positive, real & ~alike)
    return (losses * block.video_slot_weights.reshape(-1)).sum()
