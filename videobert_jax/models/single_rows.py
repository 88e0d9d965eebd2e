"""The encoders on rows that hold one example each: pure functions of a network, its variables and
padded inputs. Applications and exports compute by them.

A video is its clip features and their number, a text its piece ids and theirs, one a row; what
lies behind a row's own length is not read. Lengths may be symbols.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from videobert_jax.models.attention_rollout import Rollout, roll_out
from videobert_jax.models.videobert import VideoBert

Side = tuple[Float[Array, "b n d"], Int[Array, "b n"]]  # a tower's outputs, and segment ids


def apply(model: VideoBert, variables: Any, method: str, *inputs: Any) -> Any:
    return model.apply(variables, *inputs, method=method)


def video_tower(
    model: VideoBert,
    variables: Any,
    features: Float[Array, "b v c"],
    counts: Int[Array, " b"],
    hidden: Bool[Array, "b v"] | None = None,
) -> Side:
    """Encoded clips, of which those that are hidden are not read, and their segment ids."""
    segments, positions = _places(features.shape[1], counts)
    masked = jnp.zeros(segments.shape, bool) if hidden is None else hidden
    return apply(model, variables, "encode_video", features, segments, positions, masked), segments


def text_tower(
    model: VideoBert, variables: Any, ids: Int[Array, "b t"], counts: Int[Array, " b"]
) -> Side:
    """Encoded pieces and their segment ids."""
    segments, positions = _places(ids.shape[1], counts)
    return apply(model, variables, "encode_text", ids, segments, positions), segments


def towers(
    model: VideoBert,
    variables: Any,
    features: Float[Array, "b v c"],
    clip_counts: Int[Array, " b"],
    ids: Int[Array, "b t"],
    piece_counts: Int[Array, " b"],
    hidden: Bool[Array, "b v"] | None = None,
) -> tuple[Float[Array, "b t d"], Int[Array, "b t"], Float[Array, "b v d"], Int[Array, "b v"]]:
    """What `VideoBert.fuse` takes: both towers' outputs with their segment ids."""
    text = text_tower(model, variables, ids, piece_counts)
    video = video_tower(model, variables, features, clip_counts, hidden)
    return (*text, *video)


def rollout(
    model: VideoBert,
    variables: Any,
    features: Float[Array, "b v c"],
    clip_counts: Int[Array, " b"],
    ids: Int[Array, "b t"],
    piece_counts: Int[Array, " b"],
) -> Rollout:
    """Attention rolled out over all layers of the network, which must be dense and have a cross
    layer."""
    text, video = _places(ids.shape[1], piece_counts), _places(features.shape[1], clip_counts)

    def read(network: VideoBert) -> None:
        encoded = network.encode_text(ids, *text)
        clips = network.encode_video(features, *video, jnp.zeros(video[0].shape, bool))
        network.fuse(encoded, text[0], clips, video[0])

    _, kept = model.apply(variables, method=read, mutable=["intermediates"])
    return roll_out(kept["intermediates"], text[0], video[0])


def video_embeddings(
    model: VideoBert, variables: Any, features: Float[Array, "b v c"], counts: Int[Array, " b"]
) -> tuple[Float[Array, "b j"]]:
    """Videos in the joint space."""
    side = video_tower(model, variables, features, counts)
    return (jnp.squeeze(apply(model, variables, "video_embeddings", *side, 1), 1),)


def text_embeddings(
    model: VideoBert, variables: Any, ids: Int[Array, "b t"], counts: Int[Array, " b"]
) -> tuple[Float[Array, "b j"]]:
    """Texts in the joint space."""
    side = text_tower(model, variables, ids, counts)
    return (jnp.squeeze(apply(model, variables, "text_embeddings", *side, 1), 1),)


def pairs(
    model: VideoBert,
    variables: Any,
    features: Float[Array, "b v c"],
    clip_counts: Int[Array, " b"],
    ids: Int[Array, "b t"],
    piece_counts: Int[Array, " b"],
) -> tuple[Float[Array, "b v d"], Float[Array, "b t d"], Float[Array, "b d"]]:
    """Fused video and text, float32, 0 beyond their own lengths, and a vector a pair."""
    read = towers(model, variables, features, clip_counts, ids, piece_counts)
    _, text_segments, _, video_segments = read
    text, video = apply(model, variables, "fuse", *read)
    pooled = apply(model, variables, "pool", text, text_segments, video, video_segments, 1)
    video = jnp.where(video_segments[..., None] > 0, video, 0.0).astype(jnp.float32)
    text = jnp.where(text_segments[..., None] > 0, text, 0.0).astype(jnp.float32)
    return video, text, jnp.squeeze(pooled, 1)


def matching_logits(
    model: VideoBert, variables: Any, pooled: Float[Array, "b d"]
) -> Float[Array, " b"]:
    """Logit that video and text of each pair of `pairs` belong together."""
    return jnp.squeeze(apply(model, variables, "matching_logits", pooled[:, None]), 1)


def _places(length: Any, counts: Array) -> tuple[Int[Array, "b n"], Int[Array, "b n"]]:
    """(segment ids, positions) of rows of a length."""
    places = jnp.arange(length, dtype=jnp.int32)[None]
    real = places < counts[:, None]
    return real.astype(jnp.int32), jnp.where(real, places, 0)
