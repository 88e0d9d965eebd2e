"""Passes of the network over one block, each with a stream of dropout of its own."""

import dataclasses
from typing import Any

import jax
from jaxtyping import Array, Float, Key

from videobert_jax import schema
from videobert_jax.models.videobert import VideoBert

# Streams of a block's key. Each pass has its own, so that a pass repeated alone (the two-phase
# step encodes twice) drops the same activations.
TEXT, VIDEO, FUSE, MISMATCH, FUSE_MISMATCHED = range(5)
FUSE_CASCADE, FUSE_CAPTIONED, DECODE, HIDE_WRITTEN, EXTRA, WORDS = range(5, 11)


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Encoded:
    """Outputs of the towers for one block, and its examples in the joint space."""

    text: Any  # [r, t, d]
    video: Any  # [r, v, d]
    text_embeddings: Any  # [r, e, j]
    video_embeddings: Any  # [r, e, j]


def encode(model: VideoBert, variables: Any, block: schema.Batch, key: Key[Array, ""]) -> Encoded:
    """Runs both towers."""
    num_examples = block.example_ids.shape[-1]
    text = apply(
        model,
        variables,
        jax.random.fold_in(key, TEXT),
        "encode_text",
        block.text_ids,
        block.text_segment_ids,
        block.text_positions,
    )
    video = apply(
        model,
        variables,
        jax.random.fold_in(key, VIDEO),
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


def apply(
    model: VideoBert, variables: Any, key: Key[Array, ""] | None, method: str, *inputs: Any
) -> Any:
    """What one method of the model gives for inputs, by these variables, with dropout where a key
    is given. The network's methods say which inputs and shapes they have."""
    rngs = {} if key is None else {"dropout": key}
    return model.apply(variables, *inputs, method=method, rngs=rngs)


def fuse(
    model: VideoBert,
    variables: Any,
    key: Key[Array, ""],
    block: schema.Batch,
    encoded: Encoded,
    video: Array,
    video_segment_ids: Array,
) -> tuple[Array, Array]:
    """(fused text, fused video) of the block's texts with videos, their own or others."""
    inputs = (encoded.text, block.text_segment_ids, video, video_segment_ids)
    return apply(model, variables, key, "fuse", *inputs)


def pool(
    model: VideoBert,
    variables: Any,
    block: schema.Batch,
    fused_text: Float[Array, "r t d"],
    fused_video: Float[Array, "r v d"],
    video_segment_ids: Array,
) -> Float[Array, "r e d"]:
    """One vector an example of the fused sides."""
    sides = (fused_text, block.text_segment_ids, fused_video, video_segment_ids)
    return apply(model, variables, None, "pool", *sides, block.example_ids.shape[-1])
