"""Attention that never holds the scores of all pairs: by segments, or by the lengths of rows.

All give what `attention.attention_probabilities` times the values does. A query without an allowed
key comes out finite and means nothing: `attention.Attention` puts 0 in its place, with no gradient.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from videobert_jax import schema
from videobert_jax.models import row_attention
from videobert_jax.models.config import TPU_LANES
from videobert_jax.sharding.partitioning import lays_out, to_spec

_TILES = (512, 256, 128)  # scores held at a time along either side
_NO_QUERY, _NO_KEY = -1, -2  # segments of padding, which is nobody's, its own neither


def allowed_pairs(
    query_segments: Int[Array, "b q"], key_segments: Int[Array, "b k"]
) -> Bool[Array, "b q k"]:
    """True where query and key belong to the same example and neither is padding."""
    query = query_segments[:, :, None]
    return (query == key_segments[:, None, :]) & (query != schema.NO_SEGMENT)


def _on_own_heads(attend: Callable[..., Array]) -> Callable[..., Array]:
    """Context [b, q, n, h] of (query, key, value, query_segments, key_segments), by `attend`.

    On a mesh every device takes its own blocks and heads: XLA does not know how to split a kernel,
    and would gather all blocks on every device.
    """

    def context(
        query: Float[Array, "b q n h"],
        key: Float[Array, "b k n h"],
        value: Float[Array, "b k n h"],
        query_segments: Int[Array, "b q"],
        key_segments: Int[Array, "b k"],
    ) -> Float[Array, "b q n h"]:
        # Heads side by side, as their projections give them and our kernel takes them.
        q, k, v = (each.reshape(*each.shape[:2], -1) for each in (query, key, value))
        of_device = functools.partial(attend, query.shape[-1])
        if lays_out():
            heads = to_spec(("act_row", "act_length", "act_heads"))
            segments = to_spec(("act_row", "act_length"))
            specs = (heads, heads, heads, segments, segments)
            of_device = jax.shard_map(of_device, in_specs=specs, out_specs=heads, check_vma=False)
        return of_device(q, k, v, query_segments, key_segments).reshape(query.shape)

    context.__name__ = context.__qualname__ = attend.__name__
    context.__doc__ = attend.__doc__
    return context


@_on_own_heads
def by_cudnn(
    head_dim: int,
    query: Float[Array, "b q d"],
    key: Float[Array, "b k d"],
    value: Float[Array, "b k d"],
    query_segments: Int[Array, "b q"],
    key_segments: Int[Array, "b k"],
) -> Float[Array, "b q d"]:
    """cuDNN's flash attention (Dao et al. 2022), on GPUs in bfloat16: which keys a query sees is
    added to its scores."""

    def even(values: Array) -> Array:  # of odd lengths it has no backward pass under a mask
        return jnp.pad(values, ((0, 0), (0, values.shape[1] % 2)) + ((0, 0),) * (values.ndim - 2))

    q, k, v = (
        each.reshape(*each.shape[:2], -1, head_dim) for each in map(even, (query, key, value))
    )
    allowed = allowed_pairs(even(query_segments), even(key_segments))[:, None]
    # For every head by itself: under vmap jax takes no mask that heads share.
    allowed = jnp.broadcast_to(allowed, (len(q), q.shape[2], q.shape[1], k.shape[1]))
    context = jax.nn.dot_product_attention(q, k, v, mask=allowed, implementation="cudnn")
    return context[:, : query.shape[1]].reshape(query.shape)


@_on_own_heads
def by_segments(
    head_dim: int,
    query: Float[Array, "b q d"],
    key: Float[Array, "b k d"],
    value: Float[Array, "b k d"],
    query_segments: Int[Array, "b q"],
    key_segments: Int[Array, "b k"],
) -> Float[Array, "b q d"]:
    """A kernel for TPUs, where queries see keys of their segment: one of our own for packed rows,
    else jax's flash attention (Dao et al. 2022)."""
    if row_attention.takes(query.shape[2], head_dim, query.shape[1], key.shape[1]):
        return row_attention.attend(query, key, value, query_segments, key_segments, head_dim)
    query_segments = jnp.where(query_segments == schema.NO_SEGMENT, _NO_QUERY, query_segments)
    key_segments = jnp.where(key_segments == schema.NO_SEGMENT, _NO_KEY, key_segments)
    q, k, v = (each.reshape(*each.shape[:2], -1, head_dim) for each in (query, key, value))
    return _flash(q, k, v, query_segments, key_segments).reshape(query.shape)


def _flash(
    query: Float[Array, "b q n h"],
    key: Float[Array, "b k n h"],
    value: Float[Array, "b k n h"],
    query_segments: Int[Array, "b q"],
    key_segments: Int[Array, "b k"],
) -> Float[Array, "b q n h"]:
    from jax.experimental.pallas.ops.tpu import flash_attention

    def tiled(values: Array) -> Array:  # [b, n, h, d] -> [b, h, n in whole lanes, d]
        padding = -values.shape[1] % TPU_LANES
        return jnp.pad(values.swapaxes(1, 2), ((0, 0), (0, 0), (0, padding), (0, 0)))

    def tiled_segments(values: Array, padding_segment: int) -> Array:
        padding = -values.shape[1] % TPU_LANES
        return jnp.pad(values, ((0, 0), (0, padding)), constant_values=padding_segment)

    context = flash_attention.flash_attention(
        tiled(query),
        tiled(key),
        tiled(value),
        segment_ids=flash_attention.SegmentIds(
            tiled_segments(query_segments, _NO_QUERY), tiled_segments(key_segments, _NO_KEY)
        ),
        sm_scale=query.shape[-1] ** -0.5,
        block_sizes=_block_sizes(flash_attention, query.shape[1], key.shape[1]),
    )
    return context[:, :, : query.shape[1]].swapaxes(1, 2)


def _block_sizes(flash_attention, query_length: int, key_length: int):
    of_queries, of_keys = (
        next(tile for tile in _TILES if -(-length // TPU_LANES) * TPU_LANES % tile == 0)
        for length in (query_length, key_length)
    )
    return flash_attention.BlockSizes(
        block_q=of_queries,
        block_k_major=of_keys,
        block_k=of_keys,
        block_b=1,
        block_q_major_dkv=of_queries,
        block_k_major_dkv=of_keys,
        block_k_dkv=of_keys,
        block_q_dkv=of_queries,
        block_k_major_dq=of_keys,
        block_k_dq=of_keys,
        block_q_dq=of_queries,
    )


def by_lengths(
    query: Float[Array, "b q n h"],
    key: Float[Array, "b k n h"],
    value: Float[Array, "b k n h"],
    query_segments: Int[Array, "b q"],
    key_segments: Int[Array, "b k"],
) -> Float[Array, "b q n h"]:
    """Context of the queries where a row holds one example, from its first place on.

    On GPUs in bfloat16 cuDNN's attention, which skips padding by the lengths; elsewhere XLA's.
    """
    on_gpu = jax.default_backend() == "gpu" and query.dtype == jnp.bfloat16
    return jax.nn.dot_product_attention(
        query,
        key,
        value,
        query_seq_lengths=_lengths(query_segments),
        key_value_seq_lengths=_lengths(key_segments),
        implementation="cudnn" if on_gpu else "xla",
    )


def _lengths(segments: Int[Array, "b n"]) -> Int[Array, " b"]:
    """Of the example in each row, 1 at least: a softmax over no key is not a number."""
    return jnp.maximum((segments != schema.NO_SEGMENT).sum(-1, dtype=jnp.int32), 1)
