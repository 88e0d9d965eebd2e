"""Matching and the cascade on the network: texts are judged with videos that are not theirs, each
mismatch in a pass of the cross-modal encoder."""

from typing import Any

import jax
from jaxtyping import Array, Float, Key

from videobert_jax import schema
from videobert_jax.models.videobert import VideoBert
from videobert_jax.objectives import cascade, matching, passes
from videobert_jax.objectives.config import ObjectivesConfig


def matching_weight(
    block: schema.Batch, key: Key[Array, ""], config: ObjectivesConfig
) -> Float[Array, ""]:
    """Weight of matching, of the batch alone."""
    if config.matching.negatives == "hard":
        return matching.hard_weight(block, config.twin_clip_distance)
    return matching.uniform_weight(_uniform_mismatch(block, key), block, config.twin_clip_distance)


def matching_total(
    model: VideoBert,
    variables: Any,
    block: schema.Batch,
    encoded: passes.Encoded,
    key: Key[Array, ""],
    config: ObjectivesConfig,
    matched: Float[Array, "r e"],
) -> Float[Array, ""]:
    """Sum of matching. `matched`: logits of the texts with their own videos."""
    mismatch, weights = _mismatch(model, variables, block, encoded, key, config)
    mismatched = _mismatched_logits(
        model, variables, jax.random.fold_in(key, passes.FUSE_MISMATCHED), block, encoded, mismatch
    )
    return matching.total(matched, mismatched, weights, block)


def cascade_total(
    model: VideoBert,
    variables: Any,
    block: schema.Batch,
    encoded: passes.Encoded,
    key: Key[Array, ""],
    config: ObjectivesConfig,
    matched: Float[Array, "r e"],
) -> Float[Array, ""]:
    """Sum of the cascade. `matched`: logits of the texts with their own videos."""
    distance, count = config.twin_clip_distance, config.cascade.negatives
    mismatches = cascade.hardest(
        encoded.text_embeddings, encoded.video_embeddings, block, count, distance
    )

    # One after the other, in the backward pass too: memory is that of one pass.
    @jax.checkpoint
    def judged(given: tuple[matching.Mismatch, Key[Array, ""]]) -> tuple[Array, Array]:
        mismatch, key = given
        logits = _mismatched_logits(model, variables, key, block, encoded, mismatch)
        return logits, matching.mismatched_weights(mismatch, block, distance)

    keys = jax.random.split(jax.random.fold_in(key, passes.FUSE_CASCADE), count)
    mismatched, weights = jax.lax.map(judged, (mismatches, keys))
    return cascade.total(matched, mismatched, weights, block, distance)


def _mismatched_logits(
    model: VideoBert,
    variables: Any,
    key: Key[Array, ""],
    block: schema.Batch,
    encoded: passes.Encoded,
    mismatch: matching.Mismatch,
) -> Float[Array, "r e"]:
    """Matching logits of the texts with the videos that they meet."""
    video, segment_ids = matching.mismatched_video(
        mismatch, encoded.video, block.video_segment_ids, block.example_ids.shape[-1]
    )
    fused = passes.fuse(model, variables, key, block, encoded, video, segment_ids)
    pooled = passes.pool(model, variables, block, *fused, segment_ids)
    return passes.apply(model, variables, None, "matching_logits", pooled)


def _uniform_mismatch(block: schema.Batch, key: Key[Array, ""]) -> matching.Mismatch:
    return matching.draw_uniform(jax.random.fold_in(key, passes.MISMATCH), *block.example_ids.shape)


def _mismatch(
    model: VideoBert,
    variables: Any,
    block: schema.Batch,
    encoded: passes.Encoded,
    key: Key[Array, ""],
    config: ObjectivesConfig,
) -> tuple[matching.Mismatch, Float[Array, "r e"]]:
    """(whom the texts meet, weight of each such pair)."""
    distance = config.twin_clip_distance
    if config.matching.negatives == "uniform":
        mismatch = _uniform_mismatch(block, key)
        return mismatch, matching.mismatched_weights(mismatch, block, distance)
    mismatch = matching.draw_hard(
        jax.random.fold_in(key, passes.MISMATCH),
        encoded.text_embeddings,
        encoded.video_embeddings,
        passes.apply(model, variables, None, "contrastive_scale"),
        block,
        distance,
    )
    weights = matching.mismatched_weights(mismatch, block, distance)
    return mismatch, matching.balanced(weights, block)
