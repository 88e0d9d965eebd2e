"""What applications run: pure functions of a network, its variables and padded inputs.

A video is its clip features and their number, a text its piece ids and theirs, one a row.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from videobert_jax.models import encoder, generation, heads
from videobert_jax.models.generation import Draws, SamplingSettings, SearchSettings
from videobert_jax.models.videobert import VideoBert


def video_embeddings(
    model: VideoBert, variables: Any, features: Float[Array, "b v c"], lengths: Int[Array, " b"]
) -> tuple[Float[Array, "b j"]]:
    """Videos in the joint space."""
    segment_ids = _segment_ids(features.shape[1], lengths)
    encoded = _encode_video(model, variables, features, segment_ids)
    embeddings = _apply(model, variables, "video_embeddings", encoded, segment_ids, 1)
    return (embeddings[:, 0],)


def text_embeddings(
    model: VideoBert, variables: Any, ids: Int[Array, "b t"], lengths: Int[Array, " b"]
) -> tuple[Float[Array, "b j"]]:
    """Texts in the joint space."""
    segment_ids = _segment_ids(ids.shape[1], lengths)
    encoded = _encode_text(model, variables, ids, segment_ids)
    embeddings = _apply(model, variables, "text_embeddings", encoded, segment_ids, 1)
    return (embeddings[:, 0],)


def pairs(
    model: VideoBert, variables: Any, *inputs: Shaped[Array, "b ..."]
) -> tuple[Float[Array, "b v d"], Float[Array, "b t d"], Float[Array, "b d"]]:
    """Fused video and text, 0 beyond their own lengths, and a vector a pair."""
    towers = _towers(model, variables, *inputs)
    _, text_segments, _, video_segments = towers
    text, video = _apply(model, variables, "fuse", *towers)
    fused = (text, text_segments, video, video_segments)
    pooled = _apply(model, variables, "pool", *fused, 1)
    video = jnp.where(video_segments[..., None] > 0, video, 0.0).astype(jnp.float32)
    text = jnp.where(text_segments[..., None] > 0, text, 0.0).astype(jnp.float32)
    return video, text, pooled[:, 0]


def matching_logits(
    model: VideoBert, variables: Any, *inputs: Shaped[Array, "b ..."]
) -> tuple[Float[Array, " b"]]:
    """Logit that video and text of each pair belong together."""
    *_, pooled = pairs(model, variables, *inputs)
    return (_apply(model, variables, "matching_logits", pooled[:, None])[:, 0],)


def answer_logits(
    model: VideoBert, variables: Any, *inputs: Shaped[Array, "b ..."]
) -> tuple[Float[Array, "b a"]]:
    """Logits over the answers to the question that each text asks about its video."""
    *_, pooled = pairs(model, variables, *inputs)
    logits = _apply(model, variables, "answer_logits", pooled[:, None])
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
    towers = _towers(model, variables, features, clip_counts, ids, piece_counts)
    text, _ = _apply(model, variables, "fuse", *towers)
    return (_apply(model, variables, "piece_logits", heads.gather_slots(text, slots)),)


def cross_attention(
    model: VideoBert, variables: Any, *inputs: Shaped[Array, "b ..."]
) -> tuple[Float[Array, "b l n t v"], Float[Array, "b l n v t"]]:
    """How text reads video and video text, layer by layer."""
    towers = _towers(model, variables, *inputs)
    _, kept = model.apply(variables, *towers, method="fuse", mutable=["intermediates"])
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
    towers = _towers(model, variables, shown, clip_counts, ids, piece_counts, hidden)
    _, video = _apply(model, variables, "fuse", *towers)
    told = _apply(model, variables, "video_predictions", video)
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
        towers = _towers(model, variables, *inputs)
        text, video = towers[:2], towers[2:]
    elif sides == {"video"}:
        features, counts = inputs
        video_segments = _segment_ids(features.shape[1], counts)
        video = _encode_video(model, variables, features, video_segments), video_segments
    else:
        ids, counts = inputs
        text_segments = _segment_ids(ids.shape[1], counts)
        text = _encode_text(model, variables, ids, text_segments), text_segments
    draws = Draws(seed, numbers)
    return (generation.captions(model, variables, text, video, settings, draws),)


def _towers(
    model: VideoBert,
    variables: Any,
    features: Float[Array, "b v c"],
    clip_counts: Int[Array, " b"],
    ids: Int[Array, "b t"],
    piece_counts: Int[Array, " b"],
    hidden: Bool[Array, "b v"] | None = None,
) -> tuple[Float[Array, "b t d"], Int[Array, "b t"], Float[Array, "b v d"], Int[Array, "b v"]]:
    """What `VideoBert.fuse` takes: both towers' outputs with their segment ids."""
    video_segments = _segment_ids(features.shape[1], clip_counts)
    text_segments = _segment_ids(ids.shape[1], piece_counts)
    text = _encode_text(model, variables, ids, text_segments)
    video = _encode_video(model, variables, features, video_segments, hidden)
    return text, text_segments, video, video_segments


def _encode_video(
    model: VideoBert,
    variables: Any,
    features: Array,
    segment_ids: Array,
    hidden: Array | None = None,
) -> Array:
    masked = jnp.zeros(segment_ids.shape, bool) if hidden is None else hidden
    inputs = (features, segment_ids, _positions(segment_ids), masked)
    return _apply(model, variables, "encode_video", *inputs)


def _encode_text(model: VideoBert, variables: Any, ids: Array, segment_ids: Array) -> Array:
    return _apply(model, variables, "encode_text", ids, segment_ids, _positions(segment_ids))


def _apply(model: VideoBert, variables: Any, method: str, *inputs: Any) -> Any:
    return model.apply(variables, *inputs, method=method)


def _segment_ids(length: int, counts: Int[Array, " b"]) -> Int[Array, "b n"]:
    return (jnp.arange(length)[None] < counts[:, None]).astype(jnp.int32)


def _positions(segment_ids: Int[Array, "b n"]) -> Int[Array, "b n"]:
    return jnp.where(segment_ids > 0, jnp.arange(segment_ids.shape[1])[None], 0)
