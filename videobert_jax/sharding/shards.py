"""Whole arrays and their parts, inside a `shard_map` over all axes of the mesh: only moved, nothing
is computed."""

from typing import Any

import jax
from jax.sharding import PartitionSpec
from jaxtyping import Array

from videobert_jax.sharding import mesh as meshes


def gathered(parts: Any, specs: Any) -> Any:
    """Whole leaves of a tree of parts that are laid out by `specs`."""
    return jax.tree.map(_gathered, parts, specs)


def of_device(whole: Any, specs: Any) -> Any:
    """The device's parts, by `specs`, of a tree of whole leaves."""
    return jax.tree.map(_of_device, whole, specs)


def of_all_blocks(own: Any) -> Any:
    """Leaves `[k, ...]` of all blocks of a batch, out of those of each device's `[n, ...]`."""
    spec = PartitionSpec(meshes.BLOCK_AXES)
    return jax.tree.map(lambda part: _gathered(part, spec), own)


def _gathered(part: Array, spec: PartitionSpec) -> Array:
    for dimension, names in enumerate(spec):
        for name in reversed(_names(names)):  # the inner axis first: neighbours are side by side
            part = jax.lax.all_gather(part, name, axis=dimension, tiled=True)
    return part


def _of_device(whole: Array, spec: PartitionSpec) -> Array:
    for dimension, names in enumerate(spec):
        for name in _names(names):
            size = whole.shape[dimension] // jax.lax.axis_size(name)
            start = jax.lax.axis_index(name) * size
            whole = jax.lax.dynamic_slice_in_dim(whole, start, size, dimension)
    return whole


def _names(entry: Any) -> tuple[str, ...]:
    return entry if isinstance(entry, tuple) else (entry,) if entry else ()
