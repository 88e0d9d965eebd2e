"""All objectives of one block: the towers run once, the cross-modal encoder once, and again for
every mismatch that is to be judged.

Everything here is a pure function of one block `[r, ...]` and one key, so that neither the number
of devices nor accumulation changes a draw. Sums and weights stay apart until they are printed.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from videobert_jax import schema
from videobert_jax.models import heads
from videobert_jax.models.videobert import VideoBert
from videobert_jax.objectives import (
    bag_of_words,
    captioning,
    cascade,
    contrastive,
    masked_language,
    masked_video,
    matching,
    token_contrastive,
)
from videobert_jax.objectives.config import ObjectivesConfig

# Streams of a block's key. Each pass has its own, so that a pass repeated alone (the two-phase
# step encodes twice) drops the same activations.
_TEXT, _VIDEO, _FUSE, _MISMATCH, _FUSE_MISMATCHED = range(5)
_FUSE_CASCADE, _FUSE_CAPTIONED, _DECODE = range(5, 8)


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Encoded:
    """Outputs of the towers for one block, and its examples in the joint space."""

    text: Any  # [r, t, d]
    video: Any  # [r, v, d]
    text_embeddings: Any  # [r, e, j]
    video_embeddings: Any  # [r, e, j]


def block_keys(seed: int, step: Array, num_blocks: int) -> Key[Array, " k"]:
    """A key for every block of the step's batch."""
    key = jax.random.fold_in(jax.random.key(seed), step)
    return jax.vmap(lambda block: jax.random.fold_in(key, block))(jnp.arange(num_blocks))


def block_weights(
    block: schema.Batch, key: Key[Array, ""], config: ObjectivesConfig
) -> dict[str, Float[Array, ""]]:
    """Weight of every active objective; of the batch alone, known before any forward pass."""
    distance = config.twin_clip_distance

    def of_matching() -> Float[Array, ""]:
        if config.matching.negatives == "hard":
            return matching.hard_weight(block, distance)
        return matching.uniform_weight(_uniform_mismatch(block, key), block, distance)

    weights = {  # called for the active ones alone: a block may lack what the others need
        "masked_language": lambda: masked_language.weight(block),
        "masked_video": lambda: masked_video.weight(block),
        "matching": of_matching,
        "contrastive": lambda: contrastive.weight(block),
        "bag_of_words": lambda: bag_of_words.weight(block),
        "token_contrastive": lambda: token_contrastive.weight(block),
        "cascade": lambda: cascade.weight(block, distance),
        "captioning": lambda: captioning.weight(block, config.captioning),
    }
    return {name: weights[name]() for name in active(config)}


def active(config: ObjectivesConfig) -> list[str]:
    """Names of the objectives with a weight."""
    return [name for name, value in config.weights().items() if value > 0]


def encode(model: VideoBert, variables: Any, block: schema.Batch, key: Key[Array, ""]) -> Encoded:
    """Runs both towers."""
    num_examples = block.example_ids.shape[-1]
    text = _apply(
        model,
        variables,
        jax.random.fold_in(key, _TEXT),
        "encode_text",
        block.text_ids,
        block.text_segment_ids,
        block.text_positions,
    )
    video = _apply(
        model,
        variables,
        jax.random.fold_in(key, _VIDEO),
        "encode_video",
        block.video_features,
        block.video_segment_ids,
        block.video_positions,
        block.video_masked,
    )
    return Encoded(
        text,
        video,
        model.apply(
            variables, text, block.text_segment_ids, num_examples, method="text_embeddings"
        ),
        model.apply(
            variables, video, block.video_segment_ids, num_examples, method="video_embeddings"
        ),
    )


def local_totals(
    model: VideoBert,
    variables: Any,
    block: schema.Batch,
    encoded: Encoded,
    key: Key[Array, ""],
    config: ObjectivesConfig,
) -> dict[str, Float[Array, ""]]:
    """Sum of every active objective whose negatives, if any, are the block's own."""
    names = set(active(config)) - {"contrastive"}
    totals = {}
    if "bag_of_words" in names:
        totals["bag_of_words"] = _bag_of_words_total(model, variables, block, encoded)
    if "token_contrastive" in names:
        totals["token_contrastive"] = _token_contrastive_total(
            model, variables, block, encoded, config
        )
    if "captioning" in names and config.captioning.inputs != "both":
        totals["captioning"] = _caption_of_one_side(model, variables, block, encoded, key, config)
    if names <= set(totals):
        return totals
    fused_text, fused_video = _fuse(
        model,
        variables,
        jax.random.fold_in(key, _FUSE),
        block,
        encoded,
        encoded.video,
        block.video_segment_ids,
    )
    if "captioning" in names - set(totals):
        read = (fused_text, block.text_segment_ids, fused_video, block.video_segment_ids)
        totals["captioning"] = _captioning_total(model, variables, block, read, key, config)
    if "masked_language" in names:
        slots = heads.gather_slots(fused_text, block.text_slots)
        logits = _apply(model, variables, None, "piece_logits", slots)
        totals["masked_language"] = masked_language.total(logits, block)
    if "masked_video" in names:
        totals["masked_video"] = _masked_video_total(model, variables, block, fused_video, config)
    if names & {"matching", "cascade"}:
        matched = _matching_logits(
            model, variables, block, fused_text, fused_video, block.video_segment_ids
        )
        inputs = (model, variables, block, encoded, key, config, matched)
        if "matching" in names:
            totals["matching"] = _matching_total(*inputs)
        if "cascade" in names:
            totals["cascade"] = _cascade_total(*inputs)
    return totals


def _bag_of_words_total(
    model: VideoBert, variables: Any, block: schema.Batch, encoded: Encoded
) -> Float[Array, ""]:
    count = block.example_ids.shape[-1]
    inputs = (encoded.video, block.video_segment_ids, count)
    return bag_of_words.total(_apply(model, variables, None, "piece_presence", *inputs), block)


def _token_contrastive_total(
    model: VideoBert,
    variables: Any,
    block: schema.Batch,
    encoded: Encoded,
    config: ObjectivesConfig,
) -> Float[Array, ""]:
    text, video = _apply(model, variables, None, "token_embeddings", encoded.text, encoded.video)
    return token_contrastive.total(
        text, video, block, config.token_contrastive, config.twin_clip_distance
    )


def _caption_of_one_side(
    model: VideoBert,
    variables: Any,
    block: schema.Batch,
    encoded: Encoded,
    key: Key[Array, ""],
    config: ObjectivesConfig,
) -> Float[Array, ""]:
    """Captions told from the clips alone, or from the text alone: the other side has no length."""
    text, text_segments = encoded.text, block.text_segment_ids
    video, video_segments = encoded.video, block.video_segment_ids
    if config.captioning.inputs == "video":
        text, text_segments = text[:, :0], text_segments[:, :0]
    else:
        video, video_segments = video[:, :0], video_segments[:, :0]
    fused_text, fused_video = _apply(
        model,
        variables,
        jax.random.fold_in(key, _FUSE_CAPTIONED),
        "fuse",
        text,
        text_segments,
        video,
        video_segments,
    )
    read = (fused_text, text_segments, fused_video, video_segments)
    return _captioning_total(model, variables, block, read, key, config)


def _captioning_total(
    model: VideoBert,
    variables: Any,
    block: schema.Batch,
    read: tuple[Array, Array, Array, Array],
    key: Key[Array, ""],
    config: ObjectivesConfig,
) -> Float[Array, ""]:
    """`read`: fused text and video with their segment ids, which the decoder attends to."""
    decoded = _apply(
        model,
        variables,
        jax.random.fold_in(key, _DECODE),
        "decode",
        captioning.decoder_inputs(block),
        block.target_segment_ids,
        block.target_positions,
        *read,
    )
    logits_of = functools.partial(_apply, model, variables, None, "caption_logits")
    return captioning.total(decoded, logits_of, block, config.captioning)


def _masked_video_total(
    model: VideoBert,
    variables: Any,
    block: schema.Batch,
    fused_video: Float[Array, "r v d"],
    config: ObjectivesConfig,
) -> Float[Array, ""]:
    slots = heads.gather_slots(fused_video, block.video_slots)
    predictions = _apply(model, variables, None, "video_predictions", slots)
    features, temperature = block.video_features, config.masked_video.temperature
    form = model.config.masked_video_head
    if form != "nce":  # what was hidden is all that has to be known; nothing learns through it
        features = jnp.take_along_axis(features, block.video_slots[..., None], axis=1)
    targets = _apply(model, variables, None, "video_targets", features)
    if form == "visual_words":
        return masked_video.word_total(predictions, targets, block, temperature=temperature)
    if form == "regression":
        return masked_video.regression_total(predictions, targets, block)
    return masked_video.nce_total(
        predictions,
        targets,
        block,
        temperature=temperature,
        clip_distance=config.twin_clip_distance,
    )


def _matching_total(
    model: VideoBert,
    variables: Any,
    block: schema.Batch,
    encoded: Encoded,
    key: Key[Array, ""],
    config: ObjectivesConfig,
    matched: Float[Array, "r e"],
) -> Float[Array, ""]:
    mismatch, weights = _mismatch(model, variables, block, encoded, key, config)
    mismatched = _mismatched_logits(
        model, variables, jax.random.fold_in(key, _FUSE_MISMATCHED), block, encoded, mismatch
    )
    return matching.total(matched, mismatched, weights, block)


def _cascade_total(
    model: VideoBert,
    variables: Any,
    block: schema.Batch,
    encoded: Encoded,
    key: Key[Array, ""],
    config: ObjectivesConfig,
    matched: Float[Array, "r e"],
) -> Float[Array, ""]:
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

    keys = jax.random.split(jax.random.fold_in(key, _FUSE_CASCADE), count)
    mismatched, weights = jax.lax.map(judged, (mismatches, keys))
    return cascade.total(matched, mismatched, weights, block, distance)


def _mismatched_logits(
    model: VideoBert,
    variables: Any,
    key: Key[Array, ""],
    block: schema.Batch,
    encoded: Encoded,
    mismatch: matching.Mismatch,
) -> Float[Array, "r e"]:
    """Matching logits of the texts with the videos that they meet."""
    video, segment_ids = matching.mismatched_video(
        mismatch, encoded.video, block.video_segment_ids, block.example_ids.shape[-1]
    )
    fused = _fuse(model, variables, key, block, encoded, video, segment_ids)
    return _matching_logits(model, variables, block, *fused, segment_ids)


def _uniform_mismatch(block: schema.Batch, key: Key[Array, ""]) -> matching.Mismatch:
    return matching.draw_uniform(jax.random.fold_in(key, _MISMATCH), *block.example_ids.shape)


def _mismatch(
    model: VideoBert,
    variables: Any,
    block: schema.Batch,
    encoded: Encoded,
    key: Key[Array, ""],
    config: ObjectivesConfig,
) -> tuple[matching.Mismatch, Float[Array, "r e"]]:
    """(whom the texts meet, weight of each such pair)."""
    distance = config.twin_clip_distance
    if config.matching.negatives == "uniform":
        mismatch = _uniform_mismatch(block, key)
        return mismatch, matching.mismatched_weights(mismatch, block, distance)
    mismatch = matching.draw_hard(
        jax.random.fold_in(key, _MISMATCH),
        encoded.text_embeddings,
        encoded.video_embeddings,
        _apply(model, variables, None, "contrastive_scale"),
        block,
        distance,
    )
    weights = matching.mismatched_weights(mismatch, block, distance)
    return mismatch, matching.balanced(weights, block)


def _apply(
    model: VideoBert, variables: Any, key: Key[Array, ""] | None, method: str, *inputs: Any
) -> Any:
    """One method of the model, with dropout where a key is given."""
    rngs = {} if key is None else {"dropout": key}
    return model.apply(variables, *inputs, method=method, rngs=rngs)


def _fuse(
    model: VideoBert,
    variables: Any,
    key: Key[Array, ""],
    block: schema.Batch,
    encoded: Encoded,
    video: Array,
    video_segment_ids: Array,
) -> tuple[Array, Array]:
    inputs = (encoded.text, block.text_segment_ids, video, video_segment_ids)
    return _apply(model, variables, key, "fuse", *inputs)


def _matching_logits(
    model: VideoBert,
    variables: Any,
    block: schema.Batch,
    fused_text: Array,
    fused_video: Array,
    video_segment_ids: Array,
) -> Float[Array, "r e"]:
    pooled = _apply(
        model,
        variables,
        None,
        "pool",
        fused_text,
        block.text_segment_ids,
        fused_video,
        video_segment_ids,
        block.example_ids.shape[-1],
    )
    return _apply(model, variables, None, "matching_logits", pooled)
