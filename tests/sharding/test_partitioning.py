"""The table of logical axes is strict; meshes say what does not fit."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from videobert_jax.sharding import mesh as meshes
from videobert_jax.sharding import partitioning


def test_specs_follow_the_table():
    assert partitioning.to_spec(("layers", "embed", "heads", "head_dim")) == PartitionSpec(
        None, "fsdp", "tensor", None
    )
    assert partitioning.to_spec(("act_block", "act_row")) == PartitionSpec(("data", "fsdp"), None)


def test_an_unknown_name_raises():
    with pytest.raises(ValueError, match="'embedding'.*not in"):
        partitioning.to_spec(("embedding",))


def test_two_names_on_one_mesh_axis_raise():
    with pytest.raises(ValueError, match="two of the logical axes"):
        partitioning.to_spec(("heads", "feed_forward"))


def test_an_unboxed_leaf_raises():
    mesh = meshes.create_mesh(meshes.MeshConfig(8, 1, 1))
    boxed = {"good": nn.LogicallyPartitioned(jnp.zeros(3), ("norm",)), "bad": jnp.zeros(3)}
    with pytest.raises(ValueError, match="bad.*no logical axes"):
        partitioning.tree_shardings(mesh, boxed)


def test_a_mesh_takes_what_is_left():
    assert meshes.create_mesh(meshes.MeshConfig(-1, 2, 2)).shape["data"] == 2


@pytest.mark.parametrize("sizes", [(3, 1, 1), (4, 1, 1), (-1, 3, 1), (-1, -1, 1), (0, 8, 1)])
def test_a_mesh_that_does_not_fit_says_so(sizes):
    with pytest.raises(ValueError, match="mesh"):
        meshes.create_mesh(meshes.MeshConfig(*sizes))


def test_blocks_that_do_not_divide_say_by_what():
    mesh = meshes.create_mesh(meshes.MeshConfig(2, 2, 2), jax.devices())
    meshes.require_divisible_blocks(8, 2, mesh)
    with pytest.raises(
        ValueError, match="blocks_per_batch=6 .* 4 shards .*=2; use a multiple of 8"
    ):
        meshes.require_divisible_blocks(6, 2, mesh)
