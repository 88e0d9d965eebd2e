"""Video-text matching (VideoBERT, section 3.3; ViLBERT, Lu et al. 2019, section 3.1).

Mismatched pairs come from the same block and are made on the device: the towers' outputs of the
video side are permuted, rows by a cyclic shift and examples of a row by a rotation of segment ids,
and the small cross-modal encoder runs again. Both passes see the same corruption, or the head
would learn to detect [MASK].
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from videobert_jax import schema
from videobert_jax.objectives import twins


class Mismatch(NamedTuple):
    """How the video side is permuted: never the identity, unless a block has one example."""

    row_shift: Int[Array, ""]
    segment_shift: Int[Array, ""]


def draw_mismatch(key: Key[Array, ""], rows: int, examples: int) -> Mismatch:
    """A permutation drawn uniformly from the cyclic ones."""
    row_key, segment_key = jax.random.split(key)
    low = 1 if rows > 1 else 0
    return Mismatch(
        jax.random.randint(row_key, (), low, max(rows, low + 1)),
        jax.random.randint(segment_key, (), 0 if rows > 1 else examples - 1, examples)
        if examples > 1
        else jnp.zeros((), jnp.int32),
    )


def mismatched_video(
    mismatch: Mismatch,
    encoded: Float[Array, "r v d"],
    segment_ids: Int[Array, "r v"],
    examples: int,
) -> tuple[Float[Array, "r v d"], Int[Array, "r v"]]:
    """(encoded video, segment ids) after the permutation; padding stays padding."""
    rolled = jnp.roll(segment_ids, mismatch.row_shift, axis=0)
    rotated = (rolled - 1 + mismatch.segment_shift) % examples + 1
    ids = jnp.where(rolled == schema.NO_SEGMENT, schema.NO_SEGMENT, rotated)
    return jnp.roll(encoded, mismatch.row_shift, axis=0), ids


def _mismatched_examples(mismatch: Mismatch, values: Array) -> Array:
    """Values `[r, e]` of the example whose video each text meets."""
    rolled = jnp.roll(values, mismatch.row_shift, axis=0)
    return jnp.roll(rolled, mismatch.segment_shift, axis=1)


def mismatched_weights(
    mismatch: Mismatch, block: schema.Batch, clip_distance: int
) -> Float[Array, "r e"]:
    """1 where the mismatched pair has both sides and its halves are not alike."""
    own = twins.example_identity(block)
    other = twins.Identity(*(_mismatched_examples(mismatch, values) for values in own))
    both = block.pair_weights * _mismatched_examples(mismatch, block.pair_weights)
    return jnp.where(twins.alike(own, other, clip_distance), 0.0, both)


def weight(mismatch: Mismatch, block: schema.Batch, clip_distance: int) -> Float[Array, ""]:
    """Number of judged pairs, matched and mismatched."""
    mismatched = mismatched_weights(mismatch, block, clip_distance)
    return block.pair_weights.sum() + mismatched.sum()


def total(
    matched_logits: Float[Array, "r e"],
    mismatched_logits: Float[Array, "r e"],
    mismatch: Mismatch,
    block: schema.Batch,
    clip_distance: int,
) -> Float[Array, ""]:
    """Sum of -log p(right answer), nats, over the pairs."""
    weights = mismatched_weights(mismatch, block, clip_distance)
    matched = (jax.nn.softplus(-matched_logits) * block.pair_weights).sum()
    return matched + (jax.nn.softplus(mismatched_logits) * weights).sum()
