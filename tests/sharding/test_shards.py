"""Whole arrays out of their parts, and the other way."""

import functools

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from videobert_jax.sharding import mesh as meshes
from videobert_jax.sharding import shards

SPECS = [
    PartitionSpec(),
    PartitionSpec(None, "fsdp"),
    PartitionSpec("data", "fsdp"),
    PartitionSpec(("fsdp", "data")),
    PartitionSpec(None, ("data", "fsdp")),
]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_parts_and_wholes_are_those_of_the_partitioner(spec: PartitionSpec):
    whole = np.arange(8 * 16, dtype=np.float32).reshape(8, 16)
    whole[0, 0] = -0.0  # moved, not added to zeros
    mesh = meshes.create_mesh(meshes.MeshConfig(4, 2, 1), jax.devices())
    mapped = functools.partial(jax.shard_map, mesh=mesh, check_vma=False)
    gathered = mapped(
        lambda part: shards.gathered({"leaf": part}, {"leaf": spec})["leaf"],
        in_specs=spec,
        out_specs=PartitionSpec(),
    )(whole)
    for shard in gathered.addressable_shards:
        assert np.asarray(shard.data).tobytes() == whole.tobytes()
    parts = mapped(
        lambda leaf: shards.of_device(leaf, spec), in_specs=PartitionSpec(), out_specs=spec
    )(whole)
    np.testing.assert_array_equal(parts, whole)


def test_blocks_of_all_devices_come_in_their_order():
    mesh = meshes.create_mesh(meshes.MeshConfig(4, 2, 1), jax.devices())
    numbers = np.arange(16)
    found = jax.shard_map(
        shards.of_all_blocks,
        mesh=mesh,
        in_specs=PartitionSpec(meshes.BLOCK_AXES),
        out_specs=PartitionSpec(),
        check_vma=False,
    )(numbers)
    np.testing.assert_array_equal(found, numbers)
