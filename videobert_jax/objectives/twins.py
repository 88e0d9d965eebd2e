"""Which examples are alike, and so never negatives of each other in any objective.

In a block of 64 of a cooking corpus, 61 % of the examples have a twin: the same words, or a
neighbouring clip of the same video. Pushing them apart teaches the wrong thing.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, UInt

from videobert_jax import schema


class Identity(NamedTuple):
    """What is compared; four arrays of one shape."""

    example_ids: Int[Array, "*n"]
    video_ids: Int[Array, "*n"]
    clip_indices: Int[Array, "*n"]
    caption_hashes: UInt[Array, "*n"]


def example_identity(batch: schema.Batch) -> Identity:
    """Identity of every example, of the shape of `batch.example_ids`."""
    return Identity(batch.example_ids, batch.video_ids, batch.clip_indices, batch.caption_hashes)


def position_identity(block: schema.Batch) -> Identity:
    """Identity of every clip `[r, v]` of a block; the clip's own index, its example's caption."""
    place = jnp.maximum(block.video_segment_ids - 1, 0)  # [r, v]; padding's is masked elsewhere

    def of_example(values: Array) -> Array:
        return jnp.take_along_axis(values, place, axis=1)

    example = Identity(*(of_example(values) for values in example_identity(block)))
    ahead = block.video_positions * of_example(block.clip_steps)
    return example._replace(clip_indices=example.clip_indices + ahead)


def alike(one: Identity, other: Identity, clip_distance: int) -> Bool[Array, "..."]:
    """True where two are the same example, have the same caption, or lie near in one video.

    Arguments broadcast against each other; clips are near at `clip_distance` clips or fewer.
    """
    same_example = one.example_ids == other.example_ids
    same_caption = (one.caption_hashes == other.caption_hashes) & (one.caption_hashes != 0)
    near = jnp.abs(one.clip_indices - other.clip_indices) <= clip_distance
    return same_example | same_caption | ((one.video_ids == other.video_ids) & near)


def alike_pairs(rows: Identity, columns: Identity, clip_distance: int) -> Bool[Array, "m n"]:
    """`alike` of every pair of flattened rows and columns."""
    return alike(
        Identity(*(values.reshape(-1, 1) for values in rows)),
        Identity(*(values.reshape(1, -1) for values in columns)),
        clip_distance,
    )
