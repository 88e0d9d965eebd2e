"""Sums over blocks that do not depend on which device has which: by one binary tree over the
numbers of a power of two of blocks, of which each of a power of two of devices has a subtree.

Floating-point sums depend on their order, so an all-reduce's bits depend on the number of devices.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from videobert_jax.sharding import mesh as meshes


def in_turn(
    function: Callable[[Any, Any], tuple[Any, Any]], carry: Any, blocks: Any, turns: Array
) -> tuple[Any, Any]:
    """As `jax.lax.scan` over `blocks`, all of which are as many as `turns` says, which no compiler
    knows: a loop of one turn would become a part of what stands around, and be simplified in
    another way than a longer one."""
    structs = jax.eval_shape(function, carry, jax.tree.map(lambda leaf: leaf[0], blocks))[1]
    count = jax.tree.leaves(blocks)[0].shape[0]
    stacks = jax.tree.map(lambda leaf: jnp.zeros((count, *leaf.shape), leaf.dtype), structs)

    def turn(number: Array, state: tuple[Any, Any]) -> tuple[Any, Any]:
        block = jax.tree.map(lambda leaf: leaf[number], blocks)
        carry, other = function(state[0], block)
        return carry, jax.tree.map(lambda all_, one: all_.at[number].set(one), state[1], other)

    return jax.lax.fori_loop(0, turns, turn, (carry, stacks))


def over_blocks(
    function: Callable[[Any], tuple[Any, Any]], blocks: Any, turns: Array, *, count: int
) -> tuple[Any, Any]:
    """(sum of the first of what `function` gives over all blocks of all devices; the second of each
    of the device's `count` blocks, stacked). Inside a `shard_map` over the block axes.

    turns: as of `in_turn`. Of a device with n blocks, 1 + log2(n) summands are held at a time.
    """
    summand, _ = jax.eval_shape(function, jax.tree.map(lambda leaf: leaf[0], blocks))
    depth = count.bit_length()
    if 1 << depth - 1 != count:
        raise ValueError(f"{count} blocks a device are no power of two.")

    def take(stack: Any, numbered: tuple[Array, Any]) -> tuple[Any, Any]:
        number, block = numbered
        total, other = function(block)
        # Subtrees that are whole stand in the stack by their height, as the bits of `number` say.
        height, total = jax.lax.while_loop(
            lambda carry: (number >> carry[0]) & 1 == 1,
            lambda carry: (carry[0] + 1, _added(_at(stack, carry[0]), carry[1])),
            (jnp.int32(0), total),
        )
        return jax.tree.map(lambda all_, one: all_.at[height].set(one), stack, total), other

    empty = jax.tree.map(lambda leaf: jnp.zeros((depth, *leaf.shape), leaf.dtype), summand)
    stack, others = in_turn(take, empty, (jnp.arange(count), blocks), turns)
    return over_devices(_at(stack, depth - 1)), others


def over_devices(part: Any) -> Any:
    """The sum of the devices' trees, in pairs of neighbours, then in pairs of pairs."""
    size = jax.lax.axis_size(meshes.BLOCK_AXES)
    distance = 1
    while distance < size:
        pairs = [(device, device ^ distance) for device in range(size)]
        other = jax.lax.ppermute(part, meshes.BLOCK_AXES, pairs)
        part = _added(part, other)  # a + b here and b + a there, which are the same
        distance *= 2
    return part


def _at(stack: Any, height: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[height], stack)


def _added(one: Any, other: Any) -> Any:
    return jax.tree.map(jnp.add, one, other)
