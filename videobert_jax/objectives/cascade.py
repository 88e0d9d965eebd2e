"""Cascade: matching among the pairs that the towers find hardest to tell apart (TACo, Yang et al.
2021, arXiv 2108.09980, cascade sampling).

The joint space's similarities, which every pair has anyway, choose each text's hardest videos of
the block; the cross-modal encoder, which is dear, runs for those alone, and the right video has to
win among them by the matching logits. TACo chooses an example at a time. Here a whole row of texts
meets a whole row of videos, as in `matching`, which is the same where a row holds one example.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from videobert_jax import schema
from videobert_jax.objectives import cross_entropy, matching


def hardest(
    text: Float[Array, "r e j"],
    video: Float[Array, "r e j"],
    block: schema.Batch,
    negatives: int,
    clip_distance: int,
) -> matching.Mismatch:
    """Whom every row meets, `negatives` times: arrays `[k, r]`, hardest first; no gradient.

    Row and rotation with the highest mean cosine over the pairs that may be judged; those without
    such a pair come last.
    """
    means, judged = matching.row_similarities(text, video, block, clip_distance)
    scores = jax.lax.stop_gradient(jnp.where(judged, means, -jnp.inf))
    _, chosen = jax.lax.top_k(scores.reshape(len(scores), -1), negatives)
    examples = block.example_ids.shape[1]
    return matching.Mismatch(chosen.T // examples, chosen.T % examples)


def weight(block: schema.Batch, clip_distance: int) -> Float[Array, ""]:
    """Number of pairs that have some negative in the block."""
    return _pairs(block, clip_distance).sum()


def total(
    matched: Float[Array, "r e"],
    mismatched: Float[Array, "k r e"],
    weights: Float[Array, "k r e"],
    block: schema.Batch,
    clip_distance: int,
) -> Float[Array, ""]:
    """Sum over those pairs of -log softmax(matching logits)[right one], nats.

    `weights`: 0 where a mismatched pair is none. A pair none of whose mismatches are, which only
    happens in rows of several examples or in blocks of few videos, adds 0.
    """
    logits = jnp.moveaxis(jnp.concatenate([matched[None], mismatched]), 0, -1)
    allowed = jnp.moveaxis(jnp.concatenate([jnp.ones_like(matched)[None], weights]), 0, -1) > 0
    count = logits.shape[-1]
    first = jnp.broadcast_to(jnp.arange(count) == 0, logits.shape)
    losses = cross_entropy.with_positives(
        logits.reshape(-1, count), first.reshape(-1, count), allowed.reshape(-1, count)
    )
    return (losses * _pairs(block, clip_distance).reshape(-1)).sum()


def _pairs(block: schema.Batch, clip_distance: int) -> Float[Array, "r e"]:
    has_negative = matching.allowed_partners(block, clip_distance).any((2, 3))
    return jnp.where(has_negative, block.pair_weights, 0.0)
