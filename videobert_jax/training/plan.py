"""What a training step needs on devices that are not here, as the TPU compiler schedules it."""

import dataclasses
import importlib.metadata
import re

import jax

from videobert_jax import configuration
from videobert_jax.data.record import CLIPS_PER_RECORD
from videobert_jax.sharding import mesh as meshes
from videobert_jax.training import (
    abstract_step,
    ahead,
    collectives,
    roofline,
    traffic,
)
from videobert_jax.training.ahead import Scheduled
from videobert_jax.training.collectives import Collective
from videobert_jax.training.roofline import Roofline
from videobert_jax.training.topologies import Target

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = r"([\d.]+)([KMGT]?)"
_OUT_OF_MEMORY = (
    re.compile(rf"Used {_SIZE} of \S+ hbm", re.IGNORECASE),
    re.compile(rf"\({_SIZE}\) exceeds available HBM", re.IGNORECASE),
)
# Of a step's code, which is not made: what that of videobert_large takes on v5e (248 MB).
CODE_BYTES = 2**28


class PlanError(ValueError):
    """A mesh or a compiler with which nothing can be planned."""


@dataclasses.dataclass(frozen=True)
class InputRate:
    """What the input of one process, which is one host, must give at the expected rate: records
    read from disk or bucket, and their bytes, a second; every example with as many clips as it
    has room for, each alone in its records."""

    processes: int
    examples: float
    reads: float
    bytes: float


@dataclasses.dataclass(frozen=True)
class Plan:
    """A compiled training step. Bytes, FLOPs and collectives are a device's, a step.

    stage: the stage that takes the step, "" where the run has none. device_kind: "" where it is not
    a TPU's. flops: of matrix products, counted with loops times their length; bytes_accessed: of
    the chip's large memory, likewise. memory: bytes by what they hold; where the step does not
    fit only what is known without compiling. needed_bytes: what the program takes of
    available_bytes, None where the compiler does not say. What is None is not known of a program
    that does not fit.
    """

    config: str
    stage: str
    target: str
    num_devices: int
    device_kind: str
    mesh: dict[str, int]
    global_batch_size: int
    tokens: int
    remat: str
    accumulation_steps: int
    parameters: int
    flops: float
    fits: bool
    memory: dict[str, int]
    needed_bytes: int | None
    available_bytes: int
    reason: str | None
    bytes_accessed: int | None
    collectives: tuple[Collective, ...] | None
    roofline: Roofline | None
    input: InputRate | None
    compile_seconds: float
    compiler: str

    @property
    def examples_a_second(self) -> float | None:
        """Of all devices, were the step as fast as its bound."""
        return self.global_batch_size / self.roofline.seconds if self.roofline else None

    @property
    def speed(self) -> float:
        """Examples a second at the bound, or, of a device whose rates are not known, a FLOP."""
        return self.examples_a_second or self.global_batch_size / self.flops


def compile_for(
    run: configuration.RunConfig, target: Target, feature_dim: int, stage: str = ""
) -> Plan:
    """The plan of the training step of `run` on a target. stage: its name, where it is a stage.

    `feature_dim` stands in for the dataset's. Raises CompileError, MissingExtra without libtpu, and
    PlanError where the mesh or the batch does not divide among the devices.
    """
    if target.device_bytes is not None:
        run = on_one_device(run)
    _require_divisible(run, target, feature_dim)
    made = ahead.schedule(run, target, feature_dim)
    needed = _needed(made)
    fits = made.memory is not None and needed is not None and needed <= target.available_bytes
    if made.memory is None and target.compiled_for_bytes < target.available_bytes:
        raise PlanError(
            f"{target.name}: the step takes more than the {target.compiled_for_bytes / 2**30:.2f} "
            "GiB of the chip that the compiler stands in with; whether it fits is not known. Say a "
            "smaller --device-memory, or lower data.block_size."
        )
    traced = made.traced
    flops, sent = traced.flops / target.num_devices, None
    moved = traffic.bytes_accessed(made.program) if made.program else None
    if made.program is not None:
        sent = tuple(collectives.collectives(made.program, traced.mesh, target.slices))
    bound = _roofline(target, flops, moved, sent)
    return Plan(
        config=run.name,
        stage=stage,
        target=target.name,
        num_devices=target.num_devices,
        device_kind="" if target.device_bytes else traced.device_kind,
        mesh=traced.mesh,
        global_batch_size=run.data.global_batch_size,
        tokens=tokens_a_step(run) // target.num_devices,
        remat=run.model.remat,
        accumulation_steps=run.training.accumulation_steps,
        parameters=traced.parameters,
        flops=flops,
        fits=fits,
        memory=_memory(made),
        needed_bytes=needed,
        available_bytes=target.available_bytes,
        reason=made.refusal and made.refusal.splitlines()[0],
        bytes_accessed=moved,
        collectives=sent,
        roofline=bound,
        input=bound and input_rate(run, feature_dim, bound.seconds, traced.processes),
        compile_seconds=made.seconds,
        compiler=f"libtpu {importlib.metadata.version('libtpu')}, jax {jax.__version__}",
    )


def _require_divisible(run: configuration.RunConfig, target: Target, feature_dim: int) -> None:
    """Raises PlanError where the mesh does not divide the devices, the network or the batch."""
    network = configuration.resolve_model(
        run, vocabulary_size=run.data.vocabulary_size, feature_dim=feature_dim
    )
    try:
        mesh = abstract_step.abstract_mesh(run.mesh, target.num_devices)
        meshes.require_slices(mesh.shape["data"], target.slices)
        meshes.require_divisible_dimensions(network.split_dimensions, mesh)
        meshes.require_divisible_blocks(
            run.data.blocks_per_batch, run.training.accumulation_steps, mesh
        )
    except ValueError as error:
        raise PlanError(f"{target.name}, {target.num_devices} devices: {error}") from error


def _needed(made: Scheduled) -> int | None:
    """Bytes of a device that a step takes; None where the compiler refuses it and does not say."""
    if made.memory is not None:
        return made.memory.total + CODE_BYTES
    return refused_bytes(made.refusal or "")


def _memory(made: Scheduled) -> dict[str, int]:
    """Bytes by what they hold, as far as it is known."""
    known = made.traced.argument_bytes
    if made.memory is None:
        return known
    return {
        **known,
        "padding": made.memory.arguments - sum(known.values()),
        "temporaries": made.memory.total - made.memory.arguments,
        "code": CODE_BYTES,
    }


def _roofline(
    target: Target, flops: float, moved: int | None, sent: tuple[Collective, ...] | None
) -> Roofline | None:
    """The bound of a step that was compiled for TPUs; None where it was not."""
    if target.device_bytes is not None or moved is None or sent is None:
        return None
    return roofline.of_step(target.topology, flops, moved, roofline.Sent.by(sent))


def on_one_device(run: configuration.RunConfig) -> configuration.RunConfig:
    """`run` on one device; in the place of forms of attention that only GPUs have the dense one,
    which takes more memory."""
    of_gpus = run.model.attention in ("cudnn", "lengths")
    attention = "dense" if of_gpus else run.model.attention
    return dataclasses.replace(
        run,
        mesh=meshes.MeshConfig(1, 1, 1),
        model=dataclasses.replace(run.model, attention=attention),
    )


def tokens_a_step(run: configuration.RunConfig) -> int:
    """Places of text and video in the rows of one global batch."""
    return (
        run.data.blocks_per_batch * run.data.rows * (run.data.text_length + run.data.video_length)
    )


def input_rate(
    run: configuration.RunConfig, feature_dim: int, seconds: float, processes: int
) -> InputRate:
    """What every process reads where a step takes so many seconds."""
    clips = run.data.video_length / run.data.examples_per_row
    records = 1 + (clips - 1) / CLIPS_PER_RECORD  # a run of clips begins anywhere in a record
    mine = run.data.global_batch_size / seconds / processes
    return InputRate(
        processes=processes,
        examples=mine,
        reads=mine * records,
        bytes=mine * records * CLIPS_PER_RECORD * feature_dim * 2,
    )


def refused_bytes(message: str) -> int | None:
    """Bytes needed, by a compiler's message that memory does not suffice."""
    for pattern in _OUT_OF_MEMORY:
        if match := pattern.search(message):
            used, unit = match.groups()
            return int(float(used) * _UNITS[unit])
    return None
