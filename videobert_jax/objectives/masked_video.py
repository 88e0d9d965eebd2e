"""Masked video modelling: what was here? One of three questions, by the model's head.

Which clip of the block (noise-contrastive: HERO, Li et al. 2020, section 3.2, MNCE; UniVL, Luo et
al. 2020, section 3.3; the candidates are the uncorrupted clips of the whole block, which costs no
communication), which visual word (VideoBERT, Sun et al. 2019, section 3.2), or which features
(HERO, MFFR).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from videobert_jax import schema
from videobert_jax.objectives import cross_entropy, twins


def weight(block: schema.Batch) -> Float[Array, ""]:
    """Number of predicted clips."""
    return block.video_slot_weights.sum()


def nce_total(
    predictions: Float[Array, "r m j"],
    targets: Float[Array, "r v j"],
    block: schema.Batch,
    *,
    temperature: float,
    clip_distance: int,
) -> Float[Array, ""]:
    """Sum of -log p(clip), nats, over the slots; both arguments have norm 1."""
    positive, others = candidates(block, clip_distance)
    logits = jax.lax.dot_general(
        predictions.reshape(-1, predictions.shape[-1]),
        targets.reshape(-1, targets.shape[-1]),
        (((1,), (1,)), ((), ())),
        preferred_element_type=jnp.float32,
    )
    losses = cross_entropy.with_positives(logits / temperature, positive, others)
    return (losses * block.video_slot_weights.reshape(-1)).sum()


def candidates(
    block: schema.Batch, clip_distance: int
) -> tuple[Bool[Array, "s p"], Bool[Array, "s p"]]:
    """(the clip that each slot hides, those that it may be taken for), of the `p` places of the
    whole block for each of its `s` slots; row by row."""
    rows, length = block.video_segment_ids.shape
    identity = twins.position_identity(block)
    at_slots = twins.Identity(
        *(jnp.take_along_axis(values, block.video_slots, axis=1) for values in identity)
    )
    alike = twins.alike_pairs(at_slots, identity, clip_distance)
    own = (jnp.arange(rows)[:, None] * length + block.video_slots).reshape(-1, 1)
    real = (block.video_segment_ids != schema.NO_SEGMENT).reshape(1, -1)
    return own == jnp.arange(rows * length)[None], real & ~alike


def word_total(
    cosines: Float[Array, "r m w"],
    words: Int[Array, "r m"],
    block: schema.Batch,
    *,
    temperature: float,
) -> Float[Array, ""]:
    """Sum of -log p(visual word), nats, over the slots."""
    losses = cross_entropy.with_labels(cosines / temperature, words)
    return (losses * block.video_slot_weights).sum()


def regression_total(
    predictions: Float[Array, "r m c"], features: Float[Array, "r m c"], block: schema.Batch
) -> Float[Array, ""]:
    """Sum over the slots of the mean squared error of a clip's features."""
    errors = jnp.square(predictions - features).mean(-1)
    return (errors * block.video_slot_weights).sum()
