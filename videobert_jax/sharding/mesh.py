"""The one door to device meshes."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AbstractMesh, AxisType, Mesh

AXES = ("data", "fsdp", "tensor")
BLOCK_AXES = ("data", "fsdp")  # the axes over which the blocks of a batch are split
_SCATTERED_WHOLE = 16  # chips of a slice from which on no sum is scattered over all of them


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices a mesh axis; -1 on one of them takes what the others leave."""

    data: int
    fsdp: int
    tensor: int

    def resolve(self, num_devices: int) -> tuple[int, int, int]:
        """Sizes of (data, fsdp, tensor). Raises ValueError where they do not fit."""
        sizes = [self.data, self.fsdp, self.tensor]
        if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
            raise ValueError(f"mesh={self}: sizes are positive, and at most one is -1.")
        fixed = int(np.prod([size for size in sizes if size != -1]))
        if -1 in sizes and num_devices % fixed == 0:
            sizes[sizes.index(-1)] = num_devices // fixed
        if int(np.prod(sizes)) != num_devices or -1 in sizes:
            raise ValueError(
                f"mesh data={self.data}, fsdp={self.fsdp}, tensor={self.tensor} does not use the "
                f"{num_devices} devices there are; their product must be {num_devices}."
            )
        return sizes[0], sizes[1], sizes[2]


def require_slices(data: int, slices: int) -> None:
    """Raises ValueError where the data axis cannot be split over the slices."""
    if data % slices:
        raise ValueError(
            f"mesh.data={data} is not divisible by the {slices} slices; only the data axis may "
            "cross slices, whose links are slow."
        )


def create_mesh(config: MeshConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """Mesh (data, fsdp, tensor) over the devices; across TPU slices `data` is the outer axis.

    Raises ValueError where the sizes do not fit the devices or the slices.
    """
    devices = list(jax.devices() if devices is None else devices)
    sizes = config.resolve(len(devices))
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    require_slices(sizes[0], slices)
    if slices > 1:
        grid = mesh_utils.create_hybrid_device_mesh(
            (sizes[0] // slices, *sizes[1:]),
            (slices, 1, 1),
            devices,
            allow_split_physical_axes=True,
        )
    else:
        grid = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * 3)


def data_parts(mesh: Mesh | AbstractMesh) -> int:
    """Into how many parts ZeRO-1 splits state over the data axis: as many as it has devices in a
    slice, on TPU slices of 16 chips and more in two dimensions but along the shortest of these.

    Over all chips of such a slice, and over most of one of three dimensions, the TPU compiler
    scatters no sum: it makes it whole on every chip, twice the bytes
    (tests/parity/test_collectives.py). An AbstractMesh has no dimensions.
    """
    data = mesh.shape["data"]
    if isinstance(mesh, AbstractMesh):
        return data
    devices = mesh.devices.reshape(-1)
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    places = np.array([getattr(device, "coords", (0,)) for device in devices])
    bounds = [len(np.unique(places[:, axis])) for axis in range(places.shape[1])]
    return data_parts_of(data, bounds, slices)


def data_parts_of(data: int, bounds: Sequence[int], slices: int) -> int:
    """The `data_parts` of a data axis of so many devices over slices of these dimensions."""
    within, long = data // slices, sorted(size for size in bounds if size > 1)
    if math.prod(long) < _SCATTERED_WHOLE or len(long) < 2:
        return within
    parts = within // math.gcd(within, long[0])
    return parts if parts > 1 else within  # that is a ring


def for_updates(mesh: Mesh | AbstractMesh, parts: int) -> Mesh | AbstractMesh:
    """The mesh over the same devices whose axis `data` has so many of them, those that lie beside
    each other, and whose outer axis `replica` has the others."""
    data, *rest = (mesh.shape[axis] for axis in AXES)
    if parts == data:
        return mesh
    sizes, names = (data // parts, parts, *rest), ("replica", *AXES)
    types = (AxisType.Auto,) * len(names)
    if isinstance(mesh, AbstractMesh):
        return AbstractMesh(sizes, names, axis_types=types)
    return Mesh(mesh.devices.reshape(sizes), names, axis_types=types)


def block_shards(mesh: Mesh | AbstractMesh) -> int:
    """Number of shards that the blocks of a batch are split into."""
    return int(np.prod([mesh.shape[axis] for axis in BLOCK_AXES]))


def require_divisible_blocks(
    blocks_per_batch: int, accumulation_steps: int, mesh: Mesh | AbstractMesh
) -> None:
    """Raises ValueError unless every micro-batch has a whole number of blocks a shard."""
    shards = block_shards(mesh)
    if blocks_per_batch % (shards * accumulation_steps):
        raise ValueError(
            f"data.blocks_per_batch={blocks_per_batch} is not divisible by the {shards} shards of "
            f"axes {BLOCK_AXES} times training.accumulation_steps={accumulation_steps}; use a "
            f"multiple of {shards * accumulation_steps}, or another mesh."
        )


def require_divisible_dimensions(
    dimensions: Mapping[str, tuple[int, str]], mesh: Mesh | AbstractMesh
) -> None:
    """Raises ValueError unless the mesh divides the network's dimensions.

    dimensions: by setting, a size and the mesh axis over which it is split.
    """
    for setting, (size, axis) in dimensions.items():
        shards = mesh.shape[axis]
        if size % shards:
            divisors = [n for n in range(1, size + 1) if size % n == 0]
            near = [n for n in divisors if n < shards][-1:] + [n for n in divisors if n > shards][
                :1
            ]
            sizes = [n for n in (size // shards * shards, (size // shards + 1) * shards) if n]
            raise ValueError(
                f"{setting}={size} is split over mesh.{axis}={shards}, which does not divide it; "
                f"the nearest that do: mesh.{axis}={' or '.join(map(str, near))}, or "
                f"{setting}={' or '.join(map(str, sizes))}."
            )
