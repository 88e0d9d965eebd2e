"""The table of logical axes is strict; meshes say what does not fit."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

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


SIZES = {"data": 8, "fsdp": 4, "tensor": 1}


@pytest.mark.parametrize(
    ("spec", "shape", "expected"),
    [
        ((None, "fsdp", "tensor"), (12, 256, 128), (None, ("fsdp", "data"), "tensor")),
        ((None, "fsdp", "tensor"), (16, 256, 128), ("data", "fsdp", "tensor")),
        ((None, "fsdp", "tensor"), (12, 36, 128), (None, "fsdp", ("tensor", "data"))),
        (("fsdp",), (16,), ("fsdp",)),  # 4 a device, which 8 does not divide
        ((), (), ()),
    ],
)
def test_data_splits_the_first_dimension_that_divides(spec, shape, expected):
    found = partitioning.split_over_data(PartitionSpec(*spec), shape, SIZES)
    assert found == PartitionSpec(*expected)


def test_data_of_one_splits_nothing():
    spec = PartitionSpec(None, "fsdp")
    assert partitioning.split_over_data(spec, (8, 8), {**SIZES, "data": 1}) == spec


@pytest.mark.parametrize(
    ("size", "axis", "message"),
    [
        (
            12,
            "tensor",
            r"heads=12 is split over mesh.tensor=8, .*tensor=6 or 12, or .*heads=8 or 16",
        ),
        (4, "tensor", r"heads=4 .* nearest that do: mesh.tensor=4, or model.num_heads=8"),
    ],
)
def test_a_dimension_that_the_mesh_does_not_divide_is_named(size, axis, message):
    mesh = meshes.create_mesh(meshes.MeshConfig(1, 1, 8))
    with pytest.raises(ValueError, match=message):
        meshes.require_divisible_dimensions({"model.num_heads": (size, axis)}, mesh)
    meshes.require_divisible_dimensions({"model.num_heads": (16, axis)}, mesh)


@pytest.mark.parametrize(
    ("names", "shape"),
    [
        (("embed", "embed_out"), (16, 2)),
        (("vocabulary", "embed"), (24, 128)),  # by rows first
        (("vocabulary", "embed"), (20, 128)),  # of which a device would have a part of one
    ],
)
def test_the_gradient_of_a_gathered_parameter_is_laid_out_as_the_parameter(names, shape):
    mesh = meshes.create_mesh(meshes.MeshConfig(1, 8, 1))
    layout = NamedSharding(mesh, partitioning.to_spec(names))
    values = jnp.arange(float(shape[0] * shape[1])) % 251  # whole numbers that bfloat16 has
    kernel = jax.device_put(values.reshape(shape), layout)

    def loss(kernel):
        used = partitioning.gathered(kernel, names, jnp.bfloat16)
        return (used.astype(jnp.float32) ** 2).sum(), used

    with jax.set_mesh(mesh):
        (_, used), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(kernel)
    assert used.dtype == jnp.bfloat16 and used.sharding.is_fully_replicated
    assert gradient.dtype == jnp.float32 and gradient.sharding.is_equivalent_to(layout, 2)
    assert (gradient == 2 * kernel).all()


@pytest.mark.parametrize(
    ("data", "bounds", "slices", "expected"),
    [
        (8, (), 1, 8),  # no torus: GPUs, CPUs
        (8, (2, 4, 1), 1, 8),  # few chips are scattered over as a whole
        (16, (4, 4, 1), 1, 4),
        (32, (4, 8, 1), 1, 8),
        (64, (4, 4, 4), 1, 16),
        (16, (2, 2, 4), 1, 8),
        (512, (16, 16, 1), 2, 16),  # each slice by itself
        (4, (4, 4, 1), 1, 4),  # fsdp has the other dimension
        (6, (4, 4, 1), 1, 3),
    ],
)
def test_parts_of_data_leave_out_the_shortest_dimension(data, bounds, slices, expected):
    assert meshes.data_parts_of(data, bounds, slices) == expected


class Chip:
    def __init__(self, number, slice_index):
        self.coords, self.slice_index = (number % 4, number // 4, 0), slice_index


@pytest.mark.parametrize("slices", [1, 2])
def test_a_mesh_of_chips_knows_its_dimensions(slices):
    chips = [Chip(number, index) for index in range(slices) for number in range(16)]
    mesh = jax.sharding.Mesh(np.array(chips).reshape(-1, 1, 1), meshes.AXES)
    assert meshes.data_parts(mesh) == 4
    devices = jax.devices()[:8]
    mesh = meshes.create_mesh(meshes.MeshConfig(8, 1, 1), devices)
    assert meshes.data_parts(mesh) == 8  # CPUs have no coordinates
    parted = meshes.for_updates(mesh, 2)
    assert parted.shape == {"replica": 4, "data": 2, "fsdp": 1, "tensor": 1}
    assert (parted.devices.reshape(-1) == mesh.devices.reshape(-1)).all()
    assert meshes.for_updates(mesh, 8) is mesh
