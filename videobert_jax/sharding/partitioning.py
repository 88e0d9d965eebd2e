"""Logical axis names of parameters and activations, and the one table that maps them."""

from typing import Any

import flax.linen as nn
import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

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


def constrain(value: jax.Array, *names: str | None) -> jax.Array:
    """`value` with the layout its logical names ask for; unchanged where no mesh is set."""
    current = jax.sharding.get_abstract_mesh()
    if current.empty:
        return value
    if value.ndim != len(names):
        raise ValueError(f"{len(names)} logical axes {names} for an array {value.shape}.")
    return jax.lax.with_sharding_constraint(value, to_spec(names))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Layout of a Batch: blocks over (data, fsdp), the rest whole on each device."""
    return NamedSharding(mesh, PartitionSpec(meshes.BLOCK_AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def tree_shardings(mesh: Mesh, boxed: Any) -> Any:
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
