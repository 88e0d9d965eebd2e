"""Symmetric contrastive alignment over the global batch (CLIP, Radford et al. 2021, section 2.3).

With `near_clips` several captions near in time are positives of a clip, and several clips of a
caption (MIL-NCE, Miech et al. 2020, section 3.2, but a softmax for each direction instead of one
over both): data.read_group brings neighbours into one block. Alike pairs that are not positives
are left out of the candidates: a twin is no negative.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from videobert_jax import schema
from videobert_jax.objectives import chunks, cross_entropy, twins
from videobert_jax.objectives.config import ContrastiveConfig
from videobert_jax.sharding.partitioning import gathered_blocks


def weight(batch: schema.Batch) -> Float[Array, ""]:
    """Number of pairs."""
    return batch.pair_weights.sum()


def total(
    text: Float[Array, "k r e j"],
    video: Float[Array, "k r e j"],
    scale: Float[Array, ""],
    batch: schema.Batch,
    config: ContrastiveConfig,
    clip_distance: int,
    data_parts: int | None = None,
) -> Float[Array, ""]:
    """Sum of -log p(partners), nats, averaged over the two directions.

    `text` and `video` have norm 1; a place without a pair (weight 0) is no candidate. With
    `config.chunks` above 1 the similarities of so many parts of every block's rows are made one
    after the other, in the backward pass too, so that no device holds its share of all of them.
    data_parts: as `gathered_blocks` takes them.
    """
    own = examples(text, video, batch)
    return total_among(own, own, scale, config, clip_distance, data_parts)


def examples(text: Array, video: Array, batch: schema.Batch) -> tuple[Any, ...]:
    """All that is compared of the examples of some blocks, leaves `[k, r, e, ...]`; the last are
    their numbers in these blocks."""
    numbers = jnp.arange(batch.example_ids.size).reshape(batch.example_ids.shape)
    return text, video, twins.example_identity(batch), batch.pair_weights, numbers


def total_among(
    own: tuple[Any, ...],
    every: tuple[Any, ...],
    scale: Float[Array, ""],
    config: ContrastiveConfig,
    clip_distance: int,
    data_parts: int | None = None,
) -> Float[Array, ""]:
    """The part of `total` that is of `own` examples, which are among `every` of the batch."""
    # gathered once, not once a chunk
    others = jax.tree.map(lambda values: _flat(gathered_blocks(values, data_parts)), every)
    of_rows = functools.partial(
        _total_of_rows, others, scale, near_clips=config.near_clips, clip_distance=clip_distance
    )
    return chunks.total(of_rows, own, config.chunks, axis=1)


def _total_of_rows(
    others: tuple, scale: Array, own: tuple, *, near_clips: int, clip_distance: int
) -> Float[Array, ""]:
    """The sum over the pairs of `own` `[k, r, e, ...]` among all of `others` `[n, ...]`."""
    text, video, identity, weights, numbers = jax.tree.map(_flat, own)
    every_text, every_video, every_identity, every_weight, every_number = others
    itself = numbers[:, None] == every_number[None]
    alike = twins.alike_pairs(identity, every_identity, clip_distance)
    paired = (every_weight > 0)[None]
    positive = itself
    if near_clips > 0:
        positive |= _near(identity, every_identity, near_clips) & paired
    losses = []
    for queries, candidates in ((text, every_video), (video, every_text)):
        similarities = scale * jax.lax.dot_general(
            queries, candidates, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32
        )
        losses.append(cross_entropy.with_positives(similarities, positive, ~alike & paired))
    return 0.5 * (sum(losses) * weights).sum()


def _near(one: twins.Identity, other: twins.Identity, near_clips: int) -> Bool[Array, "m n"]:
    """Pairs of one video whose first clips are at most `near_clips` apart."""
    same_video = one.video_ids[:, None] == other.video_ids[None]
    apart = jnp.abs(one.clip_indices[:, None] - other.clip_indices[None])
    return same_video & (apart <= near_clips)


def _flat(values: Array) -> Array:
    """`[k, r, e, ...]` as `[k r e, ...]`."""
    return values.reshape(-1, *values.shape[3:])
