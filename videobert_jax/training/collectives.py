"""What the devices of a compiled program send each other in one call: how often, how many bytes,
and along which axes of the mesh.

The TPU compiler writes one collective in several forms. A gather that runs beside products is a
chain of fusions, each of which repeats it. A reduction that is scattered is an all-reduce inside a
fusion of that name. Between slices it is a transfer by way of the hosts, of the part that a device
has of what the slice has reduced.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from videobert_jax.training import hlo

KINDS = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
)
_NUMBERS = re.compile(r"\d+")
_MESH_GROUPS = re.compile(
    r"replica_groups=mesh\[([^\]]*)\]"
    r"(?:, device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\))? \{([^}]*)\}"
)
_IOTA_GROUPS = re.compile(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_LISTED_GROUPS = re.compile(r"(?:replica_groups|source_target_pairs)=\{((?:\{[\d,]*\},?)*)\}")
_TRANSFER = re.compile(r'_xla_megascale_transfer_type="(\w+)"')
_SOURCE = re.compile(r'op_name="([^"]*)"')


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective of a program.

    kind: one of KINDS. axes: the mesh axes along which devices take part; across_slices: whether
    it goes over the data centre's network, between as many slices as group_size says. bytes: of
    the whole array that one device gives or gets in one execution, that is the gathered one, or
    the one to be reduced; count: executions a step. source: what asked for it, as XLA says.
    """

    kind: str
    axes: tuple[str, ...]
    across_slices: bool
    group_size: int
    bytes: int
    count: int
    source: str

    @property
    def where(self) -> str:
        """Along what: "over data, fsdp", or "between slices"."""
        return "between slices" if self.across_slices else f"over {', '.join(self.axes)}"

    @property
    def bytes_a_step(self) -> int:
        return self.bytes * self.count

    @property
    def sent_a_step(self) -> float:
        """Bytes that a device must send, by the ring algorithms, which send least."""
        others = (self.group_size - 1) / self.group_size
        shares = {"all-reduce": 2 * others, "collective-permute": 1.0}
        return shares.get(self.kind, others) * self.bytes_a_step


class Total(NamedTuple):
    """Collectives of one kind along the same axes: executions and bytes a step, as above."""

    kind: str
    where: str
    count: int
    bytes_a_step: int
    sent_a_step: float


def collectives(
    program: hlo.Program, mesh_shape: Mapping[str, int], num_slices: int = 1
) -> list[Collective]:
    """The collectives of a program on a mesh of these axes, in the text's order.

    `mesh_shape` is that of all slices, the first axis being the one that crosses them. Those of a
    single device are left out. Raises hlo.ProgramError where they cannot be counted.
    """
    first, *rest = mesh_shape.items()
    shape = {first[0]: first[1] // num_slices, **dict(rest)}  # devices are numbered in their slice
    found = []
    for name, count in program.executions.items():
        computation = program.computations[name]
        for instruction in computation.instructions.values():
            made = _read(computation, instruction, shape, num_slices)
            if made is not None and made.group_size > 1:
                found.append(dataclasses.replace(made, count=count))
    return found


def totals(found: Iterable[Collective]) -> list[Total]:
    """Sums of all collectives of a kind along the same, the largest first."""
    sums: dict[tuple[str, str], Total] = {}
    for each in found:
        key = (each.kind, each.where)
        before = sums.get(key, Total(*key, 0, 0, 0.0))
        sums[key] = Total(
            *key,
            before.count + each.count,
            before.bytes_a_step + each.bytes_a_step,
            before.sent_a_step + each.sent_a_step,
        )
    return sorted(sums.values(), key=lambda total: -total.bytes_a_step)


def _read(
    computation: hlo.Computation,
    instruction: hlo.Instruction,
    shape: Mapping[str, int],
    num_slices: int,
) -> Collective | None:
    """The collective that begins with an instruction, counted once; None where none does."""
    kind = instruction.opcode.removesuffix("-start")
    source = _SOURCE.search(instruction.attributes)
    made = Collective("", (), False, num_slices, 0, 1, source[1] if source else "")
    if instruction.opcode == "send" and (transfer := _TRANSFER.search(instruction.attributes)):
        size = instruction.arrays[0].bytes
        kind = transfer[1].lower().replace("_", "-")
        if kind not in KINDS:
            raise hlo.ProgramError(f"{instruction.name}: {kind} between slices is not known.")
        return dataclasses.replace(made, kind=kind, across_slices=True, bytes=size)
    if kind not in KINDS or not _begins(computation, instruction):
        return None
    groups = device_groups(instruction.attributes, math.prod(shape.values()))
    operands = [computation.instructions[name].bytes for name in instruction.operands]
    size = sum(operands)
    if kind == "all-gather":  # an asynchronous one names its operands beside its results
        size = instruction.bytes - size * instruction.opcode.endswith("-start")
    if kind == "all-reduce" and computation.name.startswith("all-reduce-scatter"):
        kind = "reduce-scatter"
    return dataclasses.replace(
        made, kind=kind, axes=axes_of(groups, shape), group_size=groups.shape[1], bytes=size
    )


def _begins(computation: hlo.Computation, instruction: hlo.Instruction) -> bool:
    """False for the later links of a chain of fusions that all name one collective."""
    if "async_collective_fusion_config" not in instruction.attributes:
        return True
    return any(
        'custom_call_target="AsyncCollectiveStart"' in other.attributes
        and instruction.name in other.operands
        for other in computation.instructions.values()
    )


def device_groups(attributes: str, num_devices: int) -> np.ndarray:
    """Numbers `[groups, members]` of the devices that take part together.

    XLA lists them, or says them as a transposed range, or by the axes of a mesh of its own.
    """
    if found := _MESH_GROUPS.search(attributes):
        return _mesh_groups(*found.groups())
    if found := _IOTA_GROUPS.search(attributes):
        sizes, dims, order = found.groups()
        return _range(dims, order).reshape(_integers(sizes))
    if found := _LISTED_GROUPS.search(attributes):
        groups = [_integers(group) for group in re.findall(r"\{([\d,]+)\}", found[1])]
        if groups:
            return np.array(groups)
    return np.arange(num_devices)[None]


def _mesh_groups(sizes: str, dims: str | None, order: str | None, chosen: str) -> np.ndarray:
    """Groups along the `chosen` axes of a mesh "'a'=2,'b'=4"; a part of an axis is "'b':(1)2"."""
    axes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", sizes)}
    split: dict[str, tuple[int, ...]] = {name: (size,) for name, size in axes.items()}
    members = []
    for name, before, size in re.findall(r"'(\w+)'(?::\((\d+)\)(\d+))?", chosen):
        if before:
            split[name] = (int(before), int(size), axes[name] // (int(before) * int(size)))
        members.append((name, 1 if before else 0))
    flat = [(name, part) for name, parts in split.items() for part in range(len(parts))]
    shape = [size for parts in split.values() for size in parts]
    devices = _range(dims, order) if dims else np.arange(math.prod(shape))
    chosen_dims = [flat.index(member) for member in members]
    others = [dim for dim in range(len(flat)) if dim not in chosen_dims]
    size = math.prod(shape[dim] for dim in chosen_dims)
    return devices.reshape(shape).transpose(others + chosen_dims).reshape(-1, size)


def _range(dims: str, order: str | None) -> np.ndarray:
    shape = _integers(dims)
    numbers = np.arange(math.prod(shape)).reshape(shape)
    return (numbers.transpose(_integers(order)) if order else numbers).reshape(-1)


def _integers(text: str) -> list[int]:
    return [int(number) for number in _NUMBERS.findall(text)]


def axes_of(groups: np.ndarray, mesh_shape: Mapping[str, int]) -> tuple[str, ...]:
    """The mesh axes along which the members of a group differ."""
    places = np.stack(np.unravel_index(groups, tuple(mesh_shape.values())))
    varies = (places != places[:, :, :1]).any(axis=(1, 2))
    return tuple(axis for axis, along in zip(mesh_shape, varies, strict=True) if along)
