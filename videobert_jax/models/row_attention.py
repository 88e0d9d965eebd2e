"""A TPU kernel for the attention of packed rows, which are short: a row is one tile.

Flash attention is for rows that do not fit: it wants heads in a dimension of their own and padded
to 128 lanes, so that with heads of 64 dimensions and rows of 64 places XLA turned and padded every
operand in memory, which took as long as the products. Here queries, keys and values stay as their
projections leave them, `[rows, places, heads x dimensions]`; memory is read and written once, and
scores never leave the chip, in the backward pass either.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from videobert_jax import schema
from videobert_jax.models.config import TPU_LANES, heads_fill_lanes

LONGEST = 512  # places of a row; scores of more do not fit beside the rest
_TILE_BYTES = 2**19  # of one operand at a time; seven are there, and seven more on their way


class _Tiling(NamedTuple):
    """What one call of the kernel takes: rows of a step of the grid, lanes of an operand."""

    rows: int
    lanes: int
    head_dim: int


def takes(embed_dim: int, head_dim: int, query_length: int, key_length: int) -> bool:
    """Whether rows and heads have a form that the kernel is made for."""
    return heads_fill_lanes(embed_dim, head_dim) and max(query_length, key_length) <= LONGEST


def attend(
    query: Float[Array, "b q d"],
    key: Float[Array, "b k d"],
    value: Float[Array, "b k d"],
    query_segments: Int[Array, "b q"],
    key_segments: Int[Array, "b k"],
    head_dim: int,
) -> Float[Array, "b q d"]:
    """Context of every head beside the others, where queries see keys of their segment; 0 for a
    query that sees none. `takes` says of which shapes."""
    rows, query_length = query_segments.shape
    joined = _joined(rows, max(query_length, key_segments.shape[1]))

    def together(values: Array) -> Array:
        return values.reshape(rows // joined, joined * values.shape[1], *values.shape[2:])

    context: Any = _attend(
        head_dim,
        *map(together, (query, key, value)),
        *(together(_apart(segments, joined)) for segments in (query_segments, key_segments)),
    )
    return context.reshape(query.shape)


def _joined(rows: int, length: int) -> int:
    """How many rows are taken as one: short ones would leave most of the matrix unit idle."""
    return max(
        n for n in range(1, rows + 1) if rows % n == 0 and (n == 1 or n * length <= TPU_LANES)
    )


def _apart(segments: Int[Array, "b n"], joined: int) -> Float[Array, "b n"]:
    """Segment ids that rows taken as one do not share; float32, which the kernel can turn."""
    row = jnp.arange(segments.shape[0])[:, None] % joined
    several = segments * joined + row
    return jnp.where(segments == schema.NO_SEGMENT, schema.NO_SEGMENT, several).astype(jnp.float32)


def _tiling(head_dim: int, query: jax.Array, key: jax.Array) -> _Tiling:
    rows, query_length, dim = query.shape
    tile = math.lcm(head_dim, TPU_LANES)
    a_row = max(query_length, key.shape[1]) * query.dtype.itemsize
    fitting = [n for n in range(tile, dim + 1, tile) if dim % n == 0]
    lanes = max(n for n in fitting if n == tile or n * a_row <= _TILE_BYTES)
    at_once = [n for n in range(1, rows + 1) if rows % n == 0]
    taken = max(n for n in at_once if n == 1 or n * lanes * a_row <= _TILE_BYTES)
    return _Tiling(taken, lanes, head_dim)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(
    head_dim: int,
    query: Float[Array, "b q d"],
    key: Float[Array, "b k d"],
    value: Float[Array, "b k d"],
    query_segments: Float[Array, "b q"],
    key_segments: Float[Array, "b k"],
) -> Float[Array, "b q d"]:
    segments = (query_segments, key_segments)
    return _call(_forward, _tiling(head_dim, query, key), segments, (query, key, value), (query,))[
        0
    ]


def _attend_forward(head_dim: int, *inputs: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    return _attend(head_dim, *inputs), inputs


def _attend_backward(
    head_dim: int, inputs: tuple[jax.Array, ...], cotangent: jax.Array
) -> tuple[jax.Array | None, ...]:
    query, key, value, *segments = inputs
    operands = (query, key, value, cotangent)
    gradients = _call(_backward, _tiling(head_dim, query, key), segments, operands, operands[:3])
    return *gradients, None, None


_attend.defvjp(_attend_forward, _attend_backward)


def _call(
    kernel: Any, tiling: _Tiling, segments: Any, operands: Any, results: Any
) -> tuple[jax.Array, ...]:
    """The kernel at every tile of operands and results `[b, n, d]`."""
    from jax.experimental import pallas

    def tile(values: jax.Array) -> Any:
        block = (tiling.rows, values.shape[1], tiling.lanes)
        return pallas.BlockSpec(block, lambda row, lane: (row, 0, lane))

    def of_segments(values: jax.Array) -> Any:
        block = (tiling.rows, 1, values.shape[1])
        return pallas.BlockSpec(block, lambda row, lane: (row, 0, 0))

    rows, _, dim = operands[0].shape
    return pallas.pallas_call(
        functools.partial(kernel, tiling),
        grid=(rows // tiling.rows, dim // tiling.lanes),
        in_specs=[*map(of_segments, segments), *map(tile, operands)],
        out_specs=[tile(values) for values in results],
        out_shape=[jax.ShapeDtypeStruct(values.shape, values.dtype) for values in results],
    )(*(values[:, None] for values in segments), *operands)


def _forward(tiling: _Tiling, query_segments, key_segments, query, key, value, context) -> None:
    for row in range(tiling.rows):
        allowed = _allowed(query_segments[row], key_segments[row])
        for lanes, heads in _heads(tiling):
            queries, keys, values = (each[row, :, lanes] for each in (query, key, value))
            found = jnp.zeros(queries.shape, jnp.float32)
            for head in heads:
                probabilities = _probabilities(tiling, _only(head, queries), keys, allowed)
                read = _product(probabilities.astype(values.dtype), values)
                found = found + _only(head, read)
            context[row, :, lanes] = found.astype(context.dtype)


def _backward(
    tiling: _Tiling,
    query_segments,
    key_segments,
    query,
    key,
    value,
    cotangent,
    query_gradient,
    key_gradient,
    value_gradient,
) -> None:
    for row in range(tiling.rows):
        allowed = _allowed(query_segments[row], key_segments[row])
        for lanes, heads in _heads(tiling):
            queries, keys, values, asked = (
                each[row, :, lanes] for each in (query, key, value, cotangent)
            )
            of_queries = jnp.zeros(queries.shape, jnp.float32)
            of_keys = of_values = jnp.zeros(keys.shape, jnp.float32)
            for head in heads:
                asking, wanted = _only(head, queries), _only(head, asked)
                probabilities = _probabilities(tiling, asking, keys, allowed)
                of_probabilities = _product(wanted, values, transposed=True)
                mean = (probabilities * of_probabilities).sum(-1, keepdims=True)
                of_scores = probabilities * (of_probabilities - mean) * tiling.head_dim**-0.5
                of_scores = of_scores.astype(keys.dtype)
                of_values = of_values + _product(probabilities.T.astype(keys.dtype), wanted)
                of_queries = of_queries + _only(head, _product(of_scores, keys))
                of_keys = of_keys + _product(of_scores.T, asking)
            query_gradient[row, :, lanes] = of_queries.astype(query_gradient.dtype)
            key_gradient[row, :, lanes] = of_keys.astype(key_gradient.dtype)
            value_gradient[row, :, lanes] = of_values.astype(value_gradient.dtype)


def _heads(tiling: _Tiling):
    """(lanes that are read together, masks of the heads in them; None: one head has them all).

    A mask costs nothing: the matrix unit takes as long for 64 lanes as for 128.
    """
    width = math.lcm(tiling.head_dim, TPU_LANES)
    head = jax.lax.broadcasted_iota(jnp.int32, (1, width), 1) // tiling.head_dim
    count = width // tiling.head_dim
    masks = [None] if count == 1 else [head == number for number in range(count)]
    for start in range(0, tiling.lanes, width):
        yield slice(start, start + width), masks


def _only(mask: Array | None, values: Float[Array, "n d"]) -> Float[Array, "n d"]:
    return values if mask is None else jnp.where(mask, values, jnp.zeros_like(values))


def _allowed(query_segments: Float[Array, "1 q"], key_segments: Float[Array, "1 k"]) -> Array:
    """True `[q, k]` where a query sees a key. What lies along lanes is put below one another by the
    diagonal of a square, since a kernel cannot turn a vector."""
    square = (query_segments.shape[1],) * 2
    diagonal = jax.lax.broadcasted_iota(jnp.int32, square, 0) == jax.lax.broadcasted_iota(
        jnp.int32, square, 1
    )
    queries = jnp.where(diagonal, query_segments, 0.0).sum(1, keepdims=True)
    return (queries == key_segments) & (queries != schema.NO_SEGMENT)


def _probabilities(
    tiling: _Tiling, query: Float[Array, "q d"], key: Float[Array, "k d"], allowed: Array
) -> Float[Array, "q k"]:
    """As `attention.attention_probabilities`, of one head."""
    scores = _product(query, key, transposed=True) * tiling.head_dim**-0.5
    scores = jnp.where(allowed, scores, jnp.finfo(jnp.float32).min)
    exponentials = jnp.exp(scores - scores.max(-1, keepdims=True))
    exponentials = jnp.where(allowed, exponentials, 0.0)
    total = exponentials.sum(-1, keepdims=True)
    return exponentials / jnp.where(total == 0.0, 1.0, total)


def _product(left: Array, right: Array, *, transposed: bool = False) -> Float[Array, "m n"]:
    """left @ right, or left @ right.T, in float32."""
    dimensions = (((1,), (1 if transposed else 0,)), ((), ()))
    return jax.lax.dot_general(left, right, dimensions, preferred_element_type=jnp.float32)
