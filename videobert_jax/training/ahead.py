"""A training step as the TPU compiler schedules it and lays it into memory, for devices that are
not here.

A plan needs no machine code, and making that takes the compiler nine tenths of its time. No flag
leaves it out; so a process of its own compiles, and is ended once it has written down the scheduled
program and where its values lie, which it does just before (XLA's `xla_dump_to`).
"""

import dataclasses
import multiprocessing
import os
import pathlib
import re
import tempfile
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any

import jax

from videobert_jax import configuration
from videobert_jax.sharding import mesh as meshes
from videobert_jax.training import abstract_step, hardware, hlo, topologies
from videobert_jax.training.topologies import Target

_PROGRAM = "*jit_train_step*.after_optimizations_after_buffer_assignment.txt"  # written last
_MEMORY = "*jit_train_step*.after_optimizations-buffer-assignment.txt"
_ALLOCATION = re.compile(r"^allocation \d+: size (\d+), (.*)$", re.MULTILINE)
_FLAGS = "--xla_dump_to={} --xla_dump_hlo_as_text --xla_dump_hlo_module_re=train_step"
_POLL_SECONDS = 0.2


class CompileError(RuntimeError):
    """The compiler refuses a step for another reason than memory, or ended without a program."""


@dataclasses.dataclass(frozen=True)
class Traced:
    """What is known of a step before it is compiled.

    processes: hosts of the devices. flops: of matrix products, of all devices. argument_bytes: of
    a device, by kind, without padding.
    """

    mesh: dict[str, int]
    device_kind: str
    processes: int
    parameters: int
    flops: float
    argument_bytes: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of a device's large memory: arguments with their padding, those of them whose place
    results take, and all that the program needs, its code left out."""

    arguments: int
    aliased: int
    total: int


@dataclasses.dataclass(frozen=True)
class Scheduled:
    """A step before its code is made. memory and program are None where `refusal` says why the
    compiler found no room for it."""

    traced: Traced
    memory: Memory | None
    program: hlo.Program | None
    refusal: str | None
    seconds: float


def schedule(run: configuration.RunConfig, target: Target, feature_dim: int) -> Scheduled:
    """The step of `run`, a run without stages or a stage, scheduled for a target.

    Raises CompileError, and MissingExtra without libtpu.
    """
    topologies.require_compiler()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="videobert_plan_") as folder:
        mine, other = context.Pipe()
        compiler = context.Process(target=_compile, args=(other, folder, run, target, feature_dim))
        compiler.start()
        other.close()
        try:
            traced = _received(mine)
            started = time.monotonic()
            refusal = _wait(mine, pathlib.Path(folder))
            seconds = time.monotonic() - started
        finally:
            compiler.kill()
            compiler.join()
        if refusal is not None:
            return Scheduled(traced, None, None, refusal, seconds)
        memory, program = (next(pathlib.Path(folder).glob(each)) for each in (_MEMORY, _PROGRAM))
        return Scheduled(
            traced, memory_of(memory.read_text()), hlo.read(program.read_text()), None, seconds
        )


def memory_of(assignment: str) -> Memory:
    """Sizes of allocations, from XLA's dump of a buffer assignment; those with a color are of other
    memories."""
    found = [
        (int(size), what.split(", "))
        for size, what in _ALLOCATION.findall(assignment)
        if not what.startswith("color")
    ]
    arguments = [(size, what) for size, what in found if what[0].startswith("parameter")]
    return Memory(
        arguments=sum(size for size, _ in arguments),
        aliased=sum(size for size, what in arguments if what[-1].startswith("maybe-live-out")),
        total=sum(size for size, _ in found),
    )


def _received(connection: Connection) -> Any:
    """What the compiling process sends. Raises CompileError where it ended instead, or says so."""
    try:
        found = connection.recv()
    except EOFError:
        raise CompileError("the TPU compiler ended without a word; see above.") from None
    if isinstance(found, Exception):
        raise CompileError(str(found)) from found
    return found


def _wait(connection: Connection, folder: pathlib.Path) -> str | None:
    """Returns when the program is written: None, or why there is none."""
    size = -1
    while True:
        if connection.poll(_POLL_SECONDS):
            return _received(connection)
        for path in folder.glob(_PROGRAM):
            before, size = size, path.stat().st_size
            if size == before and _is_whole(path):
                return None


def _is_whole(path: pathlib.Path) -> bool:
    with path.open("rb") as file:
        file.seek(-min(16, path.stat().st_size), os.SEEK_END)
        return file.read().rstrip().endswith(b"}")


def _compile(
    connection: Connection,
    folder: str,
    run: configuration.RunConfig,
    target: Target,
    feature_dim: int,
) -> None:
    """Sends a `Traced`, then None, or the reason why memory does not suffice."""
    said = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{said} {_FLAGS.format(folder)}".strip()
    try:
        devices = target.devices()
        mesh = meshes.create_mesh(run.mesh, devices)
        step = abstract_step.build(run, mesh, feature_dim, target.platform)
        traced = step.traced
        connection.send(
            Traced(
                mesh={axis: int(size) for axis, size in mesh.shape.items()},
                device_kind=devices[0].device_kind,
                processes=len({(getattr(d, "slice_index", 0), d.process_index) for d in devices}),
                parameters=step.num_parameters,
                flops=hardware.jaxpr_matmul_flops(traced.jaxpr),
                argument_bytes=step.argument_bytes(),
            )
        )
        traced.lower().compile()
        connection.send(None)
    except jax.errors.JaxRuntimeError as error:
        refused = "RESOURCE_EXHAUSTED" in str(error)
        connection.send(str(error) if refused else CompileError(str(error)))
    except Exception as error:  # told to whoever asked, who has the other end
        connection.send(CompileError(f"{error}\n{traceback.format_exc()}"))
