"""Bag of words: from the clips alone, which pieces the caption has.

SuperClass (Huang et al. 2024, arXiv 2411.03313) trains an image tower so, by cross-entropy. Here by
squared error, which with few and noisy captions names things better (docs/results.md; for
classification in general Hui & Belkin 2021, arXiv 2006.07322): its minimum is the piece's frequency
among captions of such clips, and frequent pieces do not take from the rare.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from videobert_jax import schema


def weight(block: schema.Batch) -> Float[Array, ""]:
    """Number of examples with a caption and a clip that is not hidden."""
    return _weights(block).sum()


def total(presence: Float[Array, "r e w"], block: schema.Batch) -> Float[Array, ""]:
    """Sum over the examples, and over all pieces, of (predicted less true presence) squared."""
    errors = jnp.square(presence - targets(block, presence.shape[-1])).sum(-1)
    return (errors * _weights(block)).sum()


def targets(block: schema.Batch, vocabulary_size: int) -> Float[Array, "r e w"]:
    """1 for the pieces of each example's caption as it was before masking, else 0."""
    row = jnp.arange(block.text_ids.shape[0])[:, None]
    places = jnp.where(block.text_slot_weights > 0, block.text_slots, block.text_ids.shape[1])
    ids = block.text_ids.at[row, places].set(block.text_targets, mode="drop")
    shape = (ids.shape[0], block.example_ids.shape[1] + 1, vocabulary_size)
    found = jnp.zeros(shape).at[row, block.text_segment_ids, ids].set(1.0)[:, 1:]
    return jnp.where(
        jnp.arange(vocabulary_size)[None, None] < len(schema.SPECIAL_PIECES), 0.0, found
    )


def _weights(block: schema.Batch) -> Float[Array, "r e"]:
    numbers = jnp.arange(1, block.example_ids.shape[1] + 1)[None, None]
    seen = jnp.where(block.video_masked, schema.NO_SEGMENT, block.video_segment_ids)
    has_clip = (seen[:, :, None] == numbers).any(1)
    has_caption = (block.text_segment_ids[:, :, None] == numbers).any(1)
    return (has_clip & has_caption).astype(jnp.float32)
