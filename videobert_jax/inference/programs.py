"""What applications run: pure functions of a network, its variables and padded inputs.

A video is its clip features and their number, a text its piece ids and theirs, one a row; where
only one side is read, several a row, with their segment ids and positions.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from videobert_jax.inference import rows
from videobert_jax.models import encoder, generation, heads, single_rows
from videobert_jax.models.generation import Draws, SamplingSettings, SearchSettings
from videobert_jax.models.single_rows import apply, pairs, towers
from videobert_jax.models.videobert import VideoBert


def video_vectors(
    model: VideoBert,
    variables: Any,
    features: Float[Array, "b v c"],
    segments: Int[Array, "b v"],
    positions: Int[Array, "b v"],
) -> tuple[Float[Array, "b e j"]]:
    """Videos in the joint space, `rows.most_inputs` a row; 0 where a row has no such one."""
    shown = jnp.zeros(segments.shape, bool)
    encoded = apply(model, variables, "encode_video", features, segments, positions, shown)
    most = rows.most_inputs(segments.shape[1])
    return (apply(model, variables, "video_embeddings", encoded, segments, most),)


def text_vectors(
    model: VideoBert,
    variables: Any,
    ids: Int[Array, "b t"],
    segments: Int[Array, "b t"],
    positions: Int[Array, "b t"],
) -> tuple[Float[Array, "b e j"]]:
    """Texts in the joint space, `rows.most_inputs` a row; 0 where a row has no such one."""
    encoded = apply(model, variables, "encode_text", ids, segments, positions)
    most = rows.most_inputs(segments.shape[1])
    return (apply(model, variables, "text_embeddings", encoded, segments, most),)


def matching_logits(
    model: VideoBert, variables: Any, *inputs: Shaped[Array, "b ..."]
) -> tuple[Float[Array, " b"]]:
    """Logit that video and text of each pair belong together."""
    *_, pooled = pairs(model, variables, *inputs)
    return (single_rows.matching_logits(model, variables, pooled),)


def answer_logits(
    model: VideoBert, variables: Any, *inputs: Shaped[Array, "b ..."]
) -> tuple[Float[Array, "b a"]]:
    """Logits over the answers to the question that each text asks about its video."""
    *_, pooled = pairs(model, variables, *inputs)
    logits = apply(model, variables, "answer_logits", pooled[:, None])
    return (logits[:, 0, : model.config.answers],)


def piece_logits(
    model: VideoBert,
    variables: Any,
    features: Float[Array, "b v c"],
    clip_counts: Int[Array, " b"],
    ids: Int[Array, "b t"],
    piece_counts: Int[Array, " b"],
    slots: Int[Array, "b m"],
    slot_counts: Int[Array, " b"],
) -> tuple[Float[Array, "b m w"]]:
    """Logits over pieces at the slots of each text, told from text and video; those behind a
    text's own number of slots tell nothing."""
    del slot_counts
    read = towers(model, variables, features, clip_counts, ids, piece_counts)
    text, _ = apply(model, variables, "fuse", *read)
    return (apply(model, variables, "piece_logits", heads.gather_slots(text, slots)),)


def cross_attention(
    model: VideoBert, variables: Any, *inputs: Shaped[Array, "b ..."]
) -> tuple[Float[Array, "b l n t v"], Float[Array, "b l n v t"]]:
    """How text reads video and video text, layer by layer."""
    read = towers(model, variables, *inputs)
    _, kept = model.apply(variables, *read, method="fuse", mutable=["intermediates"])
    by_text, by_video = encoder.cross_attention_probabilities(
        kept["intermediates"]["cross_encoder"]
    )
    return jnp.moveaxis(by_text, 0, 1), jnp.moveaxis(by_video, 0, 1)


def visual_words(
    model: VideoBert,
    variables: Any,
    features: Float[Array, "b v c"],
    clip_counts: Int[Array, " b"],
    ids: Int[Array, "b t"],
    piece_counts: Int[Array, " b"],
) -> tuple[Float[Array, "b v w"]]:
    """Cosine of every clip with each visual word, told from the text and the clips that are not
    hidden, which are NaN."""
    hidden = jnp.isnan(features).all(axis=-1)
    shown = jnp.where(hidden[..., None], 0.0, features)
    read = towers(model, variables, shown, clip_counts, ids, piece_counts, hidden)
    _, video = apply(model, variables, "fuse", *read)
    told = apply(model, variables, "video_predictions", video)
    return (told[..., : model.config.visual_words.branching**model.config.visual_words.depth],)


def captions(
    model: VideoBert,
    sides: frozenset[str],
    settings: SearchSettings | SamplingSettings,
    seed: Shaped[Array, ""],
    variables: Any,
    numbers: Int[Array, " b"],
    *inputs: Shaped[Array, "b ..."],
) -> tuple[Int[Array, "b u"]]:
    """Piece ids of the caption of every row, the best one or one drawn by seed and number of the
    row, told from the `sides` of which inputs are given: "video", "text", or both in this order. A
    side that is not given has no length, as in training."""
    text, video = None, None
    if sides == {"video", "text"}:
        read = towers(model, variables, *inputs)
        text, video = read[:2], read[2:]
    elif sides == {"video"}:
        video = single_rows.video_tower(model, variables, *inputs)
    else:
        text = single_rows.text_tower(model, variables, *inputs)
    draws = Draws(seed, numbers)
    return (generation.captions(model, variables, text, video, settings, draws),)
