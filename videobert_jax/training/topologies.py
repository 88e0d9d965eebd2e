"""TPU slices that are not here: what the data sheets say of their chips, and their devices, which
libtpu gives.

libtpu, a wheel, is the compiler that TPU machines run, and needs no TPU: where a program does not
fit into the memory of a chip it refuses it, and the program it makes can be read.
"""

import dataclasses
import math
import os
from typing import Any

import jax
from jax.experimental import topologies

from videobert_jax.files import extras
from videobert_jax.training import compiler_flags, hardware

_LIBTPU_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    # Only their absence is complained about: the topology that is asked for is what counts.
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
}
_MEGACORE = {"chip_config_name": "megacore"}  # with which a device of v4 is a chip, not a core
_SQUARES = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_CUBES = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16")


class TopologyError(ValueError):
    """A TPU slice that there is not."""


@dataclasses.dataclass(frozen=True)
class Chip:
    """A TPU chip, which is one jax device here.

    shapes: the slices that are offered. hbm_bytes: what the compiler lets a program have of the
    memory. Bandwidths are in bytes a second: of the memory, of what a chip can send over all its
    links to chips of its slice (half of a data sheet's "bidirectional" figure), and of its part
    of the data centre's network, None where no data sheet says it.
    """

    shapes: tuple[str, ...]
    hbm_bytes: int
    hbm_bandwidth: float
    ici_bandwidth: float
    dcn_bandwidth: float | None


# Data sheets: cloud.google.com/tpu/docs/KIND.
CHIPS: dict[str, Chip] = {
    "v4": Chip(
        shapes=(*_CUBES, "8x16x16", "12x16x16"),
        hbm_bytes=int(30.75 * 2**30),
        hbm_bandwidth=1228e9,
        ici_bandwidth=300e9,  # six links of 50 GB/s in each direction
        dcn_bandwidth=None,
    ),
    "v5e": Chip(
        shapes=_SQUARES,
        hbm_bytes=int(15.75 * 2**30),
        hbm_bandwidth=819e9,
        ici_bandwidth=200e9,
        dcn_bandwidth=6.4e12 / 8 / 256,  # 6.4 Tbps a pod of 256
    ),
    "v5p": Chip(
        shapes=(*_CUBES, "8x16x16", "16x16x16", "16x16x24"),
        hbm_bytes=int(95.74 * 2**30),
        hbm_bandwidth=2765e9,
        ici_bandwidth=600e9,
        dcn_bandwidth=50e9 / 8,
    ),
    "v6e": Chip(
        shapes=_SQUARES,
        hbm_bytes=int(31.25 * 2**30),
        hbm_bandwidth=1638e9,
        ici_bandwidth=400e9,
        dcn_bandwidth=25.6e12 / 8 / 256,  # 25.6 Tbps a pod of 256
    ),
}


def chip(topology: str) -> Chip:
    """The chip of a topology such as "v5p:4x4x4". Raises TopologyError, with the list of those
    that there are."""
    kind, _, shape = topology.partition(":")
    known = CHIPS.get(kind)
    if known is None or shape not in known.shapes:
        offered = "\n".join(f"  {name}: {', '.join(each.shapes)}" for name, each in CHIPS.items())
        raise TopologyError(
            f"--topology={topology}: there is no such TPU slice; say KIND:SHAPE, such as "
            f"v5p:4x4x4, of these:\n{offered}"
        )
    return known


def peak_flops(topology: str) -> float:
    """Dense bfloat16 FLOP/s of a chip of a topology."""
    chip(topology)
    return hardware.PEAK_FLOPS["TPU " + topology.partition(":")[0]]


def require_compiler() -> None:
    """Raises MissingExtra without libtpu."""
    extras.require("libtpu", "tpu-compiler")


def devices(topology: str, slices: int = 1) -> list[Any]:
    """Devices of so many TPU slices, which need not be there.

    Call it before jax has touched a device. Raises TopologyError, or MissingExtra without libtpu.
    """
    chip(topology)
    require_compiler()
    options: dict[str, Any] = dict(_MEGACORE) if topology.startswith("v4:") else {}
    # libtpu must not look for TPUs: in the cloud's metadata, or in another process's lock file.
    for variable, value in _LIBTPU_ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    compiler_flags.say("tpu")  # as training does, so that it is the program that a pod runs
    hardware.keep_to_host()
    # What is compiled without a device can be stored in jax's cache, but not read from it.
    jax.config.update("jax_enable_compilation_cache", False)
    if slices > 1:
        options["num_slices"] = slices
    if topology.endswith(":1x1"):
        options["chips_per_host_bounds"] = (1, 1, 1)
    found = topologies.get_topology_desc(platform="tpu", topology_name=topology, **options)
    return list(found.devices)


@dataclasses.dataclass(frozen=True)
class Target:
    """What a step is planned for: slices of a TPU topology, or, where device_bytes says how much
    memory it has, one device of another kind. For the latter the TPU compiler stands in with a
    chip of 95.74 GiB: what a step keeps is the same, how it is laid out is a TPU's.

    Raises TopologyError on an unknown slice.
    """

    topology: str
    slices: int = 1
    device_bytes: int | None = None

    def __post_init__(self) -> None:
        chip(self.topology)
        if self.slices < 1:
            raise TopologyError(f"--slices={self.slices}; expected 1 or more.")

    @classmethod
    def device(cls, size: int) -> "Target":
        return cls(topology="v5p:2x2x1", device_bytes=size)

    def devices(self) -> list[Any]:
        """Raises MissingExtra without libtpu."""
        return devices(self.topology, self.slices)[: self.num_devices]

    @property
    def num_devices(self) -> int:
        if self.device_bytes is not None:
            return 1
        return self.slices * math.prod(self.bounds)

    @property
    def bounds(self) -> tuple[int, ...]:
        """Chips along each dimension of a slice."""
        return tuple(int(size) for size in self.topology.partition(":")[2].split("x"))

    @property
    def platform(self) -> str:
        return "tpu" if self.device_bytes is None else "gpu"

    @property
    def available_bytes(self) -> int:
        """Of one device."""
        return self.device_bytes or self.compiled_for_bytes

    @property
    def compiled_for_bytes(self) -> int:
        """Of the chip that the compiler knows; a program of more it refuses."""
        return chip(self.topology).hbm_bytes

    @property
    def name(self) -> str:
        if self.device_bytes is not None:
            return f"one device of {self.device_bytes / 2**30:g} GiB"
        return f"{self.slices} x {self.topology}" if self.slices > 1 else self.topology
