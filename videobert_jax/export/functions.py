"""What an export as a program computes: the encoders, as pure functions of padded inputs.

A video is its clip features and their number, a text its piece ids, [CLS] first and [SEP] last,
and theirs, one a row; what lies behind a row's own length is not read.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Float, Shaped

from videobert_jax.models import single_rows
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
        Function("encode_video", video, (joint,), single_rows.video_embeddings),
        Function("encode_text", text, (joint,), single_rows.text_embeddings),
        Function("encode_pair", video + text, fused, _encode_pair),
    )


def _encode_pair(
    model: VideoBert, variables: Any, *inputs: Shaped[Array, "b ..."]
) -> tuple[Float[Array, "b v d"], Float[Array, "b t d"], Float[Array, "b d"], Float[Array, " b"]]:
    video, text, pooled = single_rows.pairs(model, variables, *inputs)
    return video, text, pooled, single_rows.matching_logits(model, variables, pooled)
