"""All objectives of one block: the towers run once, the cross-modal encoder once, and again for
every mismatch that is to be judged.

Everything here is a pure function of one block `[r, ...]` and one key, so that neither the number
of devices nor accumulation changes a draw. Sums and weights stay apart until they are printed.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from videobert_jax import schema
from videobert_jax.models import heads
from videobert_jax.models.videobert import VideoBert
from videobert_jax.objectives import (
    answering,
    bag_of_words,
    captioning,
    cascade,
    contrastive,
    extra,
    masked_language,
    masked_video,
    mismatches,
    passes,
    segmentation,
    token_contrastive,
)
from videobert_jax.objectives.config import ObjectivesConfig


def block_keys(seed: int, step: Array, num_blocks: int) -> Key[Array, " k"]:
    """A key for every block of the step's batch."""
    key = jax.random.fold_in(jax.random.key(seed), step)
    return jax.vmap(lambda block: jax.random.fold_in(key, block))(jnp.arange(num_blocks))


def block_weights(
    block: schema.Batch, key: Key[Array, ""], config: ObjectivesConfig
) -> dict[str, Float[Array, ""]]:
    """Weight of every active objective; of the batch alone, known before any forward pass."""
    distance = config.twin_clip_distance

    weights = {  # called for the active ones alone: a block may lack what the others need
        "masked_language": lambda: masked_language.weight(block),
        "masked_video": lambda: masked_video.weight(block),
        "matching": lambda: mismatches.matching_weight(block, key, config),
        "contrastive": lambda: contrastive.weight(block),
        "bag_of_words": lambda: bag_of_words.weight(block),
        "token_contrastive": lambda: token_contrastive.weight(block),
        "cascade": lambda: cascade.weight(block, distance),
        "captioning": lambda: captioning.weight(block, config.captioning),
        "answering": lambda: answering.weight(block),
        "segmentation": lambda: segmentation.weight(block),
    }
    of_others = {name: extra.weight(name, block) for name in _extra(config)}
    return {name: weights[name]() for name in active(config) if name in weights} | of_others


def active(config: ObjectivesConfig) -> list[str]:
    """Names of the objectives with a weight."""
    return [name for name, value in config.weights().items() if value > 0]


def _extra(config: ObjectivesConfig) -> list[str]:
    return [name for name, value in config.extra_weights().items() if value > 0]


def local_totals(
    model: VideoBert,
    variables: Any,
    block: schema.Batch,
    encoded: passes.Encoded,
    key: Key[Array, ""],
    config: ObjectivesConfig,
) -> dict[str, Float[Array, ""]]:
    """Sum of every active objective whose negatives, if any, are the block's own."""
    totals = extra.totals(model, variables, block, encoded, key, config)
    names = set(active(config)) - {"contrastive"}
    if "bag_of_words" in names:
        totals["bag_of_words"] = _bag_of_words_total(model, variables, block, encoded, key)
    if "token_contrastive" in names:
        totals["token_contrastive"] = _token_contrastive_total(
            model, variables, block, encoded, config
        )
    if "segmentation" in names:
        logits = passes.apply(model, variables, None, "clip_label_logits", encoded.video)
        totals["segmentation"] = segmentation.total(logits, block)
    if "captioning" in names and config.captioning.inputs != "both":
        totals["captioning"] = _caption_of_one_side(model, variables, block, encoded, key, config)
    if names <= set(totals):
        return totals
    fused_text, fused_video = passes.fuse(
        model,
        variables,
        jax.random.fold_in(key, passes.FUSE),
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
        logits = passes.apply(model, variables, None, "piece_logits", slots)
        totals["masked_language"] = masked_language.total(logits, block)
    if "masked_video" in names:
        totals["masked_video"] = _masked_video_total(model, variables, block, fused_video, config)
    if names & {"matching", "cascade", "answering"}:
        own = (fused_text, fused_video, block.video_segment_ids)
        pooled = passes.pool(model, variables, block, *own)
        if "answering" in names:
            logits = passes.apply(model, variables, None, "answer_logits", pooled)
            totals["answering"] = answering.total(logits, block)
        if names & {"matching", "cascade"}:
            matched = passes.apply(model, variables, None, "matching_logits", pooled)
            inputs = (model, variables, block, encoded, key, config, matched)
            if "matching" in names:
                totals["matching"] = mismatches.matching_total(*inputs)
            if "cascade" in names:
                totals["cascade"] = mismatches.cascade_total(*inputs)
    return totals


def _bag_of_words_total(
    model: VideoBert,
    variables: Any,
    block: schema.Batch,
    encoded: passes.Encoded,
    key: Key[Array, ""],
) -> Float[Array, ""]:
    clips = (block.video_features, block.video_segment_ids, block.video_masked)
    inputs = (encoded.video, *clips, block.example_ids.shape[-1])
    key = jax.random.fold_in(key, passes.WORDS)
    return bag_of_words.total(passes.apply(model, variables, key, "piece_presence", *inputs), block)


def _token_contrastive_total(
    model: VideoBert,
    variables: Any,
    block: schema.Batch,
    encoded: passes.Encoded,
    config: ObjectivesConfig,
) -> Float[Array, ""]:
    text, video = passes.apply(
        model, variables, None, "token_embeddings", encoded.text, encoded.video
    )
    return token_contrastive.total(
        text, video, block, config.token_contrastive, config.twin_clip_distance
    )


def _caption_of_one_side(
    model: VideoBert,
    variables: Any,
    block: schema.Batch,
    encoded: passes.Encoded,
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
    fused_text, fused_video = passes.apply(
        model,
        variables,
        jax.random.fold_in(key, passes.FUSE_CAPTIONED),
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
    decoded = passes.apply(
        model,
        variables,
        jax.random.fold_in(key, passes.DECODE),
        "decode",
        captioning.decoder_inputs(
            block, config.captioning, jax.random.fold_in(key, passes.HIDE_WRITTEN)
        ),
        block.target_segment_ids,
        block.target_positions,
        *read,
    )
    logits_of = functools.partial(passes.apply, model, variables, None, "caption_logits")
    return captioning.total(decoded, logits_of, block, config.captioning)


def _masked_video_total(
    model: VideoBert,
    variables: Any,
    block: schema.Batch,
    fused_video: Float[Array, "r v d"],
    config: ObjectivesConfig,
) -> Float[Array, ""]:
    slots = heads.gather_slots(fused_video, block.video_slots)
    predictions = passes.apply(model, variables, None, "video_predictions", slots)
    features, temperature = block.video_features, config.masked_video.temperature
    form = model.config.masked_video_head
    if form != "nce":  # what was hidden is all that has to be known; nothing learns through it
        features = jnp.take_along_axis(features, block.video_slots[..., None], axis=1)
    targets = passes.apply(model, variables, None, "video_targets", features)
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
