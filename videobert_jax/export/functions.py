"""What an export as a program computes: the encoders, as pure functions of padded inputs.

A video is its clip features and their number, a text its piece ids, [CLS] first and [SEP] last,
and theirs, one a row; what lies behind a row's own length is not read.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from videobert_jax.models.bundle import ModelBundle
from videobert_jax.models.videobert import VideoBert

ROWS, CLIPS, PIECES = "b", "v", "t"  # dimensions that a caller chooses


@dataclasses.dataclass(frozen=True)
class Argument:
    """An array that a function takes or gives; a dimension is a size, or the name of one."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    meaning: str

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "shape": list(self.shape)}


@dataclasses.dataclass(frozen=True)
class Function:
    """`apply(network, variables, *inputs)` gives the outputs, in their order."""

    name: str
    inputs: tuple[Argument, ...]
    outputs: tuple[Argument, ...]
    apply: Callable[..., tuple[jax.Array, ...]]

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the dimensions of its inputs, in the order in which they come."""
        named = (size for each in self.inputs for size in each.shape if isinstance(size, str))
        return tuple(dict.fromkeys(named))


def network(bundle: ModelBundle) -> VideoBert:
    """The network as an export computes it: in float32 throughout, which every runtime has."""
    config = dataclasses.replace(
        bundle.config, remat="none", attention="dense", compute_dtype="float32"
    )
    return VideoBert(config)


def maxima(bundle: ModelBundle) -> dict[str, int]:
    """The longest inputs that the network was trained on, by dimension."""
    return {CLIPS: bundle.longest_run, PIECES: bundle.maximum_pieces}


def of(bundle: ModelBundle) -> tuple[Function, ...]:
    """The functions of a model: encode_video, encode_text, encode_pair."""
    config = bundle.config
    video = (
        Argument(
            "features", (ROWS, CLIPS, config.video.feature_dim), "float32", "clip features, raw"
        ),
        Argument("num_clips", (ROWS,), "int32", "clips of each row"),
    )
    text = (
        Argument("ids", (ROWS, PIECES), "int32", "piece ids, [CLS] first and [SEP] last"),
        Argument("num_pieces", (ROWS,), "int32", "pieces of each row"),
    )
    joint = Argument("embeddings", (ROWS, config.joint_dim), "float32", "of norm 1")
    width = config.embed_dim
    fused = (
        Argument("fused_video", (ROWS, CLIPS, width), "float32", "a vector a clip, 0 behind them"),
        Argument("fused_text", (ROWS, PIECES, width), "float32", "a vector a piece, 0 behind them"),
        Argument("pooled", (ROWS, width), "float32", "a vector a pair"),
        Argument(
            "matching_logits", (ROWS,), "float32", "log odds that video and text belong together"
        ),
    )
    return (
        Function("encode_video", video, (joint,), _encode_video),
        Function("encode_text", text, (joint,), _encode_text),
        Function("encode_pair", video + text, fused, _encode_pair),
    )


def _encode_video(
    model: VideoBert, variables: Any, features: Float[Array, "b v c"], num_clips: Int[Array, " b"]
) -> tuple[Float[Array, "b j"]]:
    encoded, segments = _video_tower(model, variables, features, num_clips)
    embeddings: Any = model.apply(variables, encoded, segments, 1, method="video_embeddings")
    return (jnp.squeeze(embeddings, 1),)


def _encode_text(
    model: VideoBert, variables: Any, ids: Int[Array, "b t"], num_pieces: Int[Array, " b"]
) -> tuple[Float[Array, "b j"]]:
    encoded, segments = _text_tower(model, variables, ids, num_pieces)
    embeddings: Any = model.apply(variables, encoded, segments, 1, method="text_embeddings")
    return (jnp.squeeze(embeddings, 1),)


def _encode_pair(
    model: VideoBert,
    variables: Any,
    features: Float[Array, "b v c"],
    num_clips: Int[Array, " b"],
    ids: Int[Array, "b t"],
    num_pieces: Int[Array, " b"],
) -> tuple[Float[Array, "b v d"], Float[Array, "b t d"], Float[Array, "b d"], Float[Array, " b"]]:
    video, video_segments = _video_tower(model, variables, features, num_clips)
    text, text_segments = _text_tower(model, variables, ids, num_pieces)
    sides = (text, text_segments, video, video_segments)
    both: Any = model.apply(variables, *sides, method="fuse")
    text, video = both
    fused = (text, text_segments, video, video_segments)
    pooled: Any = model.apply(variables, *fused, 1, method="pool")
    logits: Any = model.apply(variables, pooled, method="matching_logits")
    video = jnp.where(video_segments[..., None] > 0, video, 0.0)
    text = jnp.where(text_segments[..., None] > 0, text, 0.0)
    return video, text, jnp.squeeze(pooled, 1), jnp.squeeze(logits, 1)


def _video_tower(
    model: VideoBert, variables: Any, features: Array, num_clips: Array
) -> tuple[Any, Int[Array, "b v"]]:
    segments, positions = _places(features.shape[1], num_clips)
    shown = jnp.zeros(segments.shape, bool)
    inputs = (features, segments, positions, shown)
    return model.apply(variables, *inputs, method="encode_video"), segments


def _text_tower(
    model: VideoBert, variables: Any, ids: Array, num_pieces: Array
) -> tuple[Any, Int[Array, "b t"]]:
    segments, positions = _places(ids.shape[1], num_pieces)
    return model.apply(variables, ids, segments, positions, method="encode_text"), segments


def _places(length: Any, counts: Array) -> tuple[Int[Array, "b n"], Int[Array, "b n"]]:
    """(segment ids, positions) of rows of a length, a symbol too, that hold one example each."""
    places = jnp.arange(length, dtype=jnp.int32)[None]
    real = places < counts[:, None]
    return real.astype(jnp.int32), jnp.where(real, places, 0)
