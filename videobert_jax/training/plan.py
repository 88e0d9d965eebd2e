"""What a training step needs on devices that are not here: compiled ahead of time, for TPU.

libtpu, a wheel, is the compiler that TPU machines run, and needs no TPU: where a program does not
fit into the memory of a chip it refuses it, and the program it makes can be read.
"""

import collections
import dataclasses
import functools
import os
import re
import time
from collections.abc import Callable
from typing import Any

import jax
from jax.experimental import topologies
from jax.sharding import Mesh

from videobert_jax import configuration, schema
from videobert_jax.data import block
from videobert_jax.files import extras
from videobert_jax.models.videobert import VideoBert
from videobert_jax.sharding import mesh as meshes
from videobert_jax.sharding import partitioning
from videobert_jax.training import hardware, optimizer, state, steps

COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
)
_LIBTPU_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    # Only their absence is complained about: the topology that is asked for is what counts.
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
}
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = r"([\d.]+)([KMGT]?)"
_OUT_OF_MEMORY = (
    re.compile(rf"Used {_SIZE} of {_SIZE} hbm", re.IGNORECASE),
    re.compile(rf"\({_SIZE}\) exceeds available HBM \({_SIZE}\)", re.IGNORECASE),
)


class PlanError(ValueError):
    """A topology or mesh for which nothing can be compiled."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """A compiled training step. Bytes and FLOPs are a device's; None where it does not fit.

    stage: the stage that takes the step, "" where the run has none.
    peak_bytes: what the program needs, arguments counted; available_bytes: what it may use of a
    device. Where the step does not fit, the compiler says both in its reason. flops: of matrix
    products, counted with loops times their length. collectives: number of each kind in the
    program; what stands in a scan over layers counts once.
    """

    config: str
    stage: str
    topology: str
    num_devices: int
    device_kind: str
    mesh: dict[str, int]
    global_batch_size: int
    parameters: int
    flops: float
    fits: bool
    argument_bytes: int | None
    peak_bytes: int | None
    available_bytes: int | None
    reason: str | None
    collectives: dict[str, int] | None
    compile_seconds: float


def compile_for(
    run: configuration.RunConfig, topology: str, feature_dim: int, stage: str = ""
) -> Plan:
    """The plan of the training step of `run`, or of its stage of that name, on a TPU topology such
    as "v5p:4x4x4".

    `feature_dim` stands in for the dataset's. Call it before jax has touched a device. Raises
    PlanError on an unknown topology or a mesh that does not fit, MissingExtra without libtpu.
    """
    run = run.in_stages()[stage]
    devices = topology_devices(topology)
    try:
        mesh = meshes.create_mesh(run.mesh, devices)
        meshes.require_divisible_blocks(
            run.data.blocks_per_batch, run.training.accumulation_steps, mesh
        )
    except ValueError as error:
        raise PlanError(f"{topology} has {len(devices)} devices: {error}") from error
    step, arguments = _training_step(run, mesh, feature_dim)
    with jax.set_mesh(mesh):
        flops = hardware.matmul_flops(step, *arguments)
        shardings = (state.state_shardings(arguments[0]), None)
        lowered = jax.jit(step, donate_argnums=0, out_shardings=shardings).lower(*arguments)
    return Plan(
        config=run.name,
        stage=stage,
        topology=topology,
        num_devices=len(devices),
        device_kind=devices[0].device_kind,
        mesh={axis: int(size) for axis, size in mesh.shape.items()},
        global_batch_size=run.data.global_batch_size,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(arguments[0].params)),
        flops=flops / len(devices),
        **_compiled(lowered),
    )


def topology_devices(name: str) -> list[Any]:
    """Devices of a TPU topology, which need not be there.

    Raises MissingExtra without libtpu, PlanError where libtpu does not know the topology.
    """
    extras.require("libtpu", "tpu-compiler")
    # libtpu must not look for TPUs: in the cloud's metadata, or in another process's lock file.
    for variable, value in _LIBTPU_ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    hardware.keep_to_host()
    try:
        topology = topologies.get_topology_desc(platform="tpu", topology_name=name)
    except (RuntimeError, ValueError) as error:
        raise PlanError(
            f"--topology={name}: libtpu knows no such topology ({str(error).splitlines()[0]}); "
            "say KIND:AxB or KIND:AxBxC, such as v4:2x2x1, v5e:4x4, v5p:4x4x4, v6e:4x4."
        ) from error
    return list(topology.devices)


def count_collectives(program: str) -> dict[str, int]:
    """Number of collectives of every kind in the text of a compiled program.

    An asynchronous one is a pair of operations, -start and -done, and counts once.
    """
    kinds = "|".join(COLLECTIVES)
    found = collections.Counter(re.findall(rf"[ )](?:({kinds})(?:-start)?)\(", program))
    return {kind: found[kind] for kind in COLLECTIVES if found[kind]}


def memory_of(message: str) -> tuple[int | None, int | None]:
    """(bytes needed, bytes available) of a compiler's message that memory does not suffice."""
    for pattern in _OUT_OF_MEMORY:
        if match := pattern.search(message):
            used, used_unit, available, available_unit = match.groups()
            return (
                int(float(used) * _UNITS[used_unit]),
                int(float(available) * _UNITS[available_unit]),
            )
    return None, None


def _training_step(
    run: configuration.RunConfig, mesh: Mesh, feature_dim: int
) -> tuple[Callable[..., Any], tuple[state.TrainState, schema.Batch]]:
    """(the step of the training loop, shapes and layouts of its state and batch)."""
    network = configuration.resolve_model(
        run, vocabulary_size=run.data.vocabulary_size, feature_dim=feature_dim
    )
    model = VideoBert(configuration.model_on(run, network, mesh.devices.flat[0].platform))
    rule = optimizer.create_rule(run.optimizer, run.training.num_steps, model)
    step = functools.partial(
        steps.train_step,
        model=model,
        rule=rule,
        objectives=run.objectives,
        seed=run.seed,
        accumulation_steps=run.training.accumulation_steps,
        num_shards=meshes.block_shards(mesh),
    )
    shape = block.BlockSettings.from_config(run.data, run.seed, feature_dim).shape
    layout = partitioning.batch_sharding(mesh)
    batch = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=layout),
        schema.batch_structs(shape, run.data.blocks_per_batch, run.data.rows),
    )
    return step, (state.state_structs(model, rule, mesh), batch)


def _compiled(lowered: jax.stages.Lowered) -> dict[str, Any]:
    """Fields of a Plan that compiling tells."""
    started = time.monotonic()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        needed, available = memory_of(str(error))
        return {
            "fits": False,
            "argument_bytes": None,
            "peak_bytes": needed,
            "available_bytes": available,
            "reason": str(error).splitlines()[0],
            "collectives": None,
            "compile_seconds": time.monotonic() - started,
        }
    seconds = time.monotonic() - started
    memory, program = compiled.memory_analysis(), compiled.as_text()
    if memory is None or program is None:
        raise PlanError("this libtpu tells nothing of its programs; install the one jax pins.")
    return {
        "fits": True,
        "argument_bytes": memory.argument_size_in_bytes,
        "peak_bytes": memory.peak_memory_in_bytes,
        "available_bytes": None,
        "reason": None,
        "collectives": count_collectives(program),
        "compile_seconds": seconds,
    }
