"""Logical axis names of parameters and activations, and the one table that maps them."""

import functools
import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from videobert_jax.models.config import TPU_LANES
from videobert_jax.sharding import mesh as meshes

# Logical axis -> mesh axes. Parameters are split over fsdp along "embed" and over tensor along
# heads, feed-forward and vocabulary (Megatron-LM, Shoeybi et al. 2019, section 3); activations
# carry names of their own, so that a parameter rule never splits an activation.
MESH_AXES: dict[str, tuple[str, ...] | None] = {
    "layers": None,
    "embed_out": None,
    "embed": ("fsdp",),
    "heads": ("tensor",),
    "head_dim": None,
    "feed_forward": ("tensor",),
    "vocabulary": ("tensor",),
    "joint": None,
    "feature": None,
    "position": None,
    "directions": None,
    "norm": None,
    "bias": None,
    "scalar": None,
    "one": None,
    "extra": None,  # of a matrix of another package
    "act_block": meshes.BLOCK_AXES,
    "act_row": None,
    "act_length": None,
    "act_embed": None,
    "act_heads": ("tensor",),
    "act_head_dim": None,
    "act_feed_forward": ("tensor",),
    "act_vocabulary": ("tensor",),
}


def to_spec(names: tuple[str | None, ...]) -> PartitionSpec:
    """PartitionSpec of logical names; strict, unlike Linen's own rules.

    Raises ValueError on a name that is not in the table and on two names on one mesh axis.
    """
    entries: list[Any] = []
    used: set[str] = set()
    for name in names:
        if name is None:
            entries.append(None)
            continue
        if name not in MESH_AXES:
            raise ValueError(
                f"logical axis {name!r} of {names} is not in sharding.partitioning.MESH_AXES "
                f"({', '.join(MESH_AXES)}); add it there."
            )
        axes = MESH_AXES[name]
        if axes is None:
            entries.append(None)
            continue
        if used & set(axes):
            raise ValueError(f"two of the logical axes {names} lie on the mesh axis {axes}.")
        used |= set(axes)
        entries.append(axes[0] if len(axes) == 1 else axes)
    return PartitionSpec(*entries)


def lays_out() -> bool:
    """Whether a mesh is set over which the partitioner splits arrays: not inside a `shard_map` over
    all of its axes, where every device has its own."""
    current = jax.sharding.get_abstract_mesh()
    return not (current.empty or current.are_all_axes_manual)


def constrain(value: jax.Array, *names: str | None) -> jax.Array:
    """`value` with the layout its logical names ask for; unchanged where nothing `lays_out`."""
    if not lays_out():
        return value
    if value.ndim != len(names):
        raise ValueError(f"{len(names)} logical axes {names} for an array {value.shape}.")
    return jax.lax.with_sharding_constraint(value, to_spec(names))


GATHERED = "gathered"  # what `gathered` gives, to policies of rematerialisation


def gathered(parameter: jax.Array, names: tuple[str, ...], dtype: Any) -> jax.Array:
    """The parameter in `dtype`, whole where fsdp splits it; over tensor it stays split.

    Said where it is used, for else the partitioner moves activations wherever those are smaller.
    The gradient goes the way back: summed and split at once, a reduce-scatter (ZeRO, Rajbhandari et
    al. 2020, section 7).
    """
    return checkpoint_name(_gathered(parameter.astype(dtype), names), GATHERED)


def splits_parameters() -> bool:
    """Whether the mesh in context splits parameters, so that `gathered` moves something."""
    return lays_out() and jax.sharding.get_abstract_mesh().shape.get("fsdp", 1) > 1


def gathered_blocks(values: jax.Array, data_parts: int | None = None) -> jax.Array:
    """`[k, ...]` of all blocks, whole on every device. The gradient goes the way back, as above: a
    constraint by itself would have every device hold the whole sum. data_parts:
    `meshes.data_parts`, over which it is scattered first."""
    names = ("act_block", *(None,) * (values.ndim - 1))
    whole = (None, jax.sharding.get_abstract_mesh().shape.get("data"))
    if data_parts in whole or splits_parameters() or not lays_out():
        return _gathered(values, names)
    return _gathered_by_parts(values, names, data_parts)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _gathered_by_parts(
    value: jax.Array, names: tuple[str | None, ...], data_parts: int
) -> jax.Array:
    return _gathered(value, names)


def _scattered_by_parts(gradient: jax.Array, names: Any, data_parts: int) -> jax.Array:
    """The sum, as `names` say: over parts of data first, which a TPU can (`meshes.data_parts`)."""
    mesh = meshes.for_updates(jax.sharding.get_abstract_mesh(), data_parts)
    parted = gradient.reshape(mesh.shape["replica"], data_parts, -1, *gradient.shape[1:])
    for spec in (PartitionSpec(None, "data"), PartitionSpec("replica", "data")):
        parted = jax.lax.with_sharding_constraint(parted, NamedSharding(mesh, spec))
    return constrain(parted.reshape(gradient.shape), *names)


_gathered_by_parts.defvjp(
    lambda value, names, _: (_gathered(value, names), None),
    lambda names, data_parts, _, cotangent: (_scattered_by_parts(cotangent, names, data_parts),),
)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _gathered(value: jax.Array, names: tuple[str | None, ...]) -> jax.Array:
    whole = (None if name and "fsdp" in (MESH_AXES[name] or ()) else name for name in names)
    return constrain(constrain(value, *names), *whole)


def _scattered(gradient: jax.Array, names: tuple[str | None, ...]) -> jax.Array:
    """The gradient summed and split, as `names` say.

    Where rows of a table fill a TPU's lanes and a device's part of them does not, by rows first:
    the compiler would sum the gradient of BERT's 30,592 pieces whole on every device.
    """
    if names[0] == "vocabulary" and splits_parameters():
        width = gradient.shape[1]
        part = width // jax.sharding.get_abstract_mesh().shape["fsdp"]
        if width % TPU_LANES == 0 and part % TPU_LANES:
            by_rows = PartitionSpec((*to_spec(names),), None)
            gradient = jax.lax.with_sharding_constraint(gradient, by_rows)
    return constrain(gradient, *names)


_gathered.defvjp(
    lambda value, names: (_gathered(value, names), None),
    lambda names, _, cotangent: (_scattered(cotangent, names),),
)


def batch_sharding(mesh: Mesh | AbstractMesh) -> NamedSharding:
    """Layout of a Batch: blocks over (data, fsdp), the rest whole on each device."""
    return NamedSharding(mesh, PartitionSpec(meshes.BLOCK_AXES))


def split_over_data(
    spec: PartitionSpec, shape: tuple[int, ...], sizes: Mapping[str, int]
) -> PartitionSpec:
    """The layout of an array with `data` splitting one dimension more: ZeRO-1's (Rajbhandari et al.
    2020, section 5.1) of what only the optimizer reads.

    `sizes`: of the mesh axes. It is the first dimension that divides: its parts are whole
    however a compiler lays out the others. An array without one, such as a scalar, stays as it is.
    """
    entries = [*spec, *(None,) * (len(shape) - len(spec))]
    axes = [entry if isinstance(entry, tuple) else (entry,) if entry else () for entry in entries]
    left = [
        size // math.prod(sizes[name] for name in names)
        for size, names in zip(shape, axes, strict=True)
    ]
    dividing = [n for n, size in enumerate(left) if size > 1 and size % sizes["data"] == 0]
    if dividing and sizes["data"] > 1:
        chosen = dividing[0]
        entries[chosen] = (*axes[chosen], "data") if axes[chosen] else "data"
    return PartitionSpec(*entries)


def replicated(mesh: Mesh | AbstractMesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def tree_shardings(mesh: Mesh | AbstractMesh, boxed: Any) -> Any:
    """NamedSharding a leaf of a tree of boxed (`nn.LogicallyPartitioned`) variables.

    Raises ValueError on a leaf born without logical names.
    """

    def sharding(path: Any, leaf: Any) -> NamedSharding:
        if not isinstance(leaf, nn.LogicallyPartitioned):
            raise ValueError(f"{jax.tree_util.keystr(path)} has no logical axes; box it at birth.")
        return NamedSharding(mesh, to_spec(leaf.names))

    return jax.tree_util.tree_map_with_path(
        sharding, boxed, is_leaf=lambda leaf: isinstance(leaf, nn.meta.AxisMetadata)
    )


def logical_axes(boxed: Any) -> Any:
    """Tuple of logical names a leaf of a boxed tree."""
    return jax.tree.map(
        lambda leaf: leaf.names, boxed, is_leaf=lambda leaf: isinstance(leaf, nn.meta.AxisMetadata)
    )
