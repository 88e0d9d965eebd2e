"""Sums over blocks: one tree, whatever the devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from videobert_jax.sharding import mesh as meshes
from videobert_jax.training import tree_sums

BLOCKS = 8


def by_tree(values: np.ndarray) -> np.ndarray:
    """The sum by halves of halves, in float32."""
    if len(values) == 1:
        return values[0]
    half = len(values) // 2
    return by_tree(values[:half]) + by_tree(values[half:])


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    """Of such sizes that every order of summing gives other bits."""
    generator = np.random.default_rng(0)
    drawn = generator.normal(size=(BLOCKS, 1000)) * 10.0 ** generator.integers(-3, 4, (BLOCKS, 1))
    return drawn.astype(np.float32)


def summed(values: np.ndarray, data: int, fsdp: int) -> tuple[np.ndarray, np.ndarray]:
    mesh = meshes.create_mesh(meshes.MeshConfig(data, fsdp, 1), jax.devices()[: data * fsdp])
    spec = PartitionSpec(meshes.BLOCK_AXES)

    def of_device(blocks: jax.Array) -> tuple[jax.Array, jax.Array]:
        return tree_sums.over_blocks(
            lambda block: (block, block[0] + 1), blocks, jnp.int32(len(blocks)), count=len(blocks)
        )

    whole = functools.partial(jax.shard_map, check_vma=False)
    with jax.set_mesh(mesh):
        total, others = jax.jit(whole(of_device, in_specs=spec, out_specs=(PartitionSpec(), spec)))(
            values
        )
    for shard in total.addressable_shards:  # each device has come to the same
        np.testing.assert_array_equal(shard.data, total)
    return np.asarray(total), np.asarray(others)


@pytest.mark.parametrize("sizes", [(1, 1), (2, 1), (1, 2), (2, 2), (4, 2), (1, 8), (8, 1)])
def test_every_mesh_sums_by_the_same_tree(values: np.ndarray, sizes: tuple[int, int]):
    total, others = summed(values, *sizes)
    np.testing.assert_array_equal(total, by_tree(values))
    np.testing.assert_array_equal(others, values[:, 0] + 1)
    in_a_row = functools.reduce(np.add, values)
    assert (in_a_row != total).mean() > 0.1  # so that an order of its own would be seen


def test_blocks_that_are_no_power_of_two_are_refused(values: np.ndarray):
    with pytest.raises(ValueError, match="3 blocks a device are no power of two"):
        summed(values[:3], 1, 1)
