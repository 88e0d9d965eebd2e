"""What a training step needs, estimated from its jaxpr in seconds, without a compiler.

Good for putting settings in order, and for saying about how much memory a change saves; the few
that matter are then compiled. State and batch are exact. Activations are those that live at the
same time where elementwise operations are joined to what uses them, as XLA joins them; what a loop
over layers keeps for its backward pass is in the jaxpr as it is. A step is traced once for each
policy of rematerialisation, on one device; a mesh and a batch are then a matter of arithmetic.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from videobert_jax import configuration
from videobert_jax.sharding import mesh as meshes
from videobert_jax.sharding import partitioning
from videobert_jax.training import abstract_step, hardware, least_traffic, roofline

# XLA joins these to the operations that use them: their results need no memory of their own.
_JOINED = frozenset(
    "abs add add_any and broadcast_in_dim clamp convert_element_type copy cos div eq erf exp exp2 "
    "expand_dims ge gt integer_pow iota is_finite le log log1p logistic lt max min mul ne neg not "
    "or pow random_bits random_wrap random_unwrap rem reshape rsqrt select_n sharding_constraint "
    "shift_left shift_right_logical sign sin sqrt square squeeze stop_gradient sub tanh "
    "threefry2x32 transpose xor".split()
)
# Kinds of values: shaped like parameters, split over blocks, and also over tensor.
_PARAMETER, _ACTIVATION, _SPLIT_ACTIVATION = range(3)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Bytes and FLOPs of a device, a step. memory: bytes by what they hold."""

    memory: dict[str, int]
    flops: float
    bytes_accessed: float
    sent: roofline.Sent

    @property
    def needed_bytes(self) -> int:
        return sum(self.memory.values())


@dataclasses.dataclass(frozen=True)
class _Trace:
    """A step on one device with a block a micro-batch. Rows hold bytes by kind of value.

    peaks: what lives at the times at which most does; moved: what operations read and write.
    """

    step: abstract_step.AbstractStep
    blocks: int
    flops: float
    peaks: np.ndarray
    moved: np.ndarray


def estimate(
    run: configuration.RunConfig,
    mesh: Mapping[str, int],
    feature_dim: int,
    platform: str,
    slices: int = 1,
    data_parts: int | None = None,
) -> Estimate:
    """The Estimate of the step of `run` on a mesh of these sizes of axes, over so many slices.
    data_parts: `meshes.data_parts` of it, None for all of data.

    Raises ValueError where the mesh does not divide the parameters or the batch.
    """
    trace = _traced(_one_device(run, platform, mesh["tensor"]), feature_dim)
    shards = math.prod(mesh[axis] for axis in meshes.BLOCK_AXES)
    accumulation = run.training.accumulation_steps
    blocks = run.data.blocks_per_batch / shards
    micro_blocks = blocks / accumulation
    if micro_blocks != int(micro_blocks):
        raise ValueError(
            f"data.blocks_per_batch={run.data.blocks_per_batch} is no multiple of {shards} shards "
            f"times training.accumulation_steps={accumulation}."
        )
    held = functools.partial(_bytes_on, mesh=mesh)
    only_updated = functools.partial(
        _bytes_on,
        mesh={**mesh, "data": data_parts or mesh["data"]},
        over_data=run.optimizer.shard_over_data,
    )
    weights = np.array(
        [
            1 / (mesh["fsdp"] * mesh["tensor"]),
            micro_blocks,
            micro_blocks / mesh["tensor"],
        ]
    )
    state = trace.step.state
    sent = least_traffic.least_sent(run, trace.step.model, trace.step.rule, mesh, slices)
    batch = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(trace.step.batch))
    return Estimate(
        memory={
            "parameters": held(state.params),
            "optimizer": only_updated(state.opt_state),
            "average": only_updated(state.ema),
            "constants": held((state.constants, state.step, state.window)),
            "batch": int(batch * blocks / trace.blocks),
            "temporaries": int((trace.peaks @ weights).max() + _similarities(run, shards)),
        },
        flops=trace.flops * blocks / trace.blocks / mesh["tensor"],
        bytes_accessed=float(trace.moved @ weights) * accumulation / trace.blocks,
        sent=sum(sent.values(), roofline.Sent(0.0, 0.0)),
    )


def _one_device(
    run: configuration.RunConfig, platform: str, tensor: int
) -> configuration.RunConfig:
    """The same step on one device, with a block a micro-batch, and all that differs between
    platforms, and by how many devices share heads, said."""
    micro = min(run.training.accumulation_steps, 2)
    longest = max(run.data.text_length, run.data.video_length)
    return dataclasses.replace(
        run,
        data=dataclasses.replace(run.data, blocks_per_batch=micro),
        training=dataclasses.replace(run.training, accumulation_steps=micro),
        mesh=meshes.MeshConfig(1, 1, 1),
        model=run.model.on(platform, longest, tensor),
        stages=(),
    )


@functools.cache
def _traced(run: configuration.RunConfig, feature_dim: int) -> _Trace:
    mesh = abstract_step.abstract_mesh(run.mesh, 1)
    step = abstract_step.build(run, mesh, feature_dim, "tpu")
    closed = step.traced.jaxpr
    shapes = _parameter_shapes(step.state.params)
    vocabulary = -(-run.data.vocabulary_size // 128) * 128
    split = {run.model.num_heads, run.model.feed_forward_dim, vocabulary}

    def size(aval: Any) -> np.ndarray:
        found = np.zeros(3)
        shape = getattr(aval, "shape", ())
        if hasattr(aval, "dtype") and not jnp.issubdtype(aval.dtype, jax.dtypes.extended):
            kind = _SPLIT_ACTIVATION if split & set(shape) else _ACTIVATION
            kind = _PARAMETER if shape in shapes else kind
            found[kind] = math.prod(shape) * aval.dtype.itemsize
        return found

    return _Trace(
        step=step,
        blocks=run.data.blocks_per_batch,
        flops=hardware.jaxpr_matmul_flops(closed),
        peaks=peaks(closed.jaxpr, size),
        moved=moved(closed.jaxpr, size),
    )


def _parameter_shapes(params: Any) -> set[tuple[int, ...]]:
    """Shapes of parameters, those of a stack of layers also a layer at a time."""
    shapes = set()
    for leaf in jax.tree.leaves(params):
        shapes |= {leaf.shape, leaf.shape[1:], (1, *leaf.shape[1:])}
    return {shape for shape in shapes if len(shape) > 1}


def _bytes_on(structs: Any, mesh: Mapping[str, int], over_data: bool = False) -> int:
    """Bytes of a tree of structs with shardings that a device of a mesh of these sizes holds.

    over_data: leaves are split over data as well, where that goes.
    """
    total = 0
    for leaf in jax.tree.leaves(structs):
        parts, spec = 1, leaf.sharding.spec
        if over_data:
            spec = partitioning.split_over_data(spec, leaf.shape, mesh)
        for dim, entry in zip(leaf.shape, spec, strict=False):
            along = math.prod(mesh[axis] for axis in _axes(entry))
            if dim % along:
                raise ValueError(f"a dimension of {dim} does not divide among {along} devices.")
            parts *= along
        total += leaf.size * leaf.dtype.itemsize // parts
    return total


def _axes(entry: Any) -> tuple[str, ...]:
    return () if entry is None else (entry,) if isinstance(entry, str) else tuple(entry)


def _similarities(run: configuration.RunConfig, shards: int) -> float:
    """Bytes of a device's rows of the contrastive objective's matrix, forward and backward."""
    if not run.objectives.contrastive.weight:
        return 0.0
    examples = run.data.global_batch_size
    return 2 * 4 * examples / shards * examples / run.objectives.contrastive.chunks


def peaks(jaxpr: Any, size: Callable[[Any], np.ndarray]) -> np.ndarray:
    """Bytes `[times, kinds]` of values that live at one time in a jaxpr, its inputs left out.

    Only times at which not less of everything lives than at another are kept.
    """
    last = _last_uses(jaxpr)
    live = size(None)
    ends: dict[int, np.ndarray] = {}
    found = [live]
    for index, equation in enumerate(jaxpr.eqns):
        made = size(None)
        if equation.primitive.name not in _JOINED:
            for var in equation.outvars:
                made = made + size(var.aval)
                end = last.get(var, index)
                ends[end] = ends.get(end, 0.0) + size(var.aval)
        within = [row for body in hardware.inner_jaxprs(equation) for row in peaks(body, size)]
        found += [live + made + row for row in within or [size(None)]]
        live = live + made - ends.pop(index, 0.0)
    return _largest(np.array(found))


def _largest(rows: np.ndarray) -> np.ndarray:
    """The rows that no other row exceeds in every column."""
    kept: list[np.ndarray] = []
    for row in sorted(rows.tolist(), reverse=True):
        if not any((np.asarray(other) >= row).all() for other in kept):
            kept.append(np.asarray(row))
    return np.array(kept)


def _last_uses(jaxpr: Any) -> dict[Any, int]:
    """Index of the last equation for which a value must be there, joined ones looked through."""
    last = {var: len(jaxpr.eqns) for var in jaxpr.outvars if not hasattr(var, "val")}
    for index in range(len(jaxpr.eqns) - 1, -1, -1):
        equation = jaxpr.eqns[index]
        needed = index
        if equation.primitive.name in _JOINED:
            needed = max((last.get(var, index) for var in equation.outvars), default=index)
        for var in equation.invars:
            if not hasattr(var, "val"):
                last[var] = max(last.get(var, 0), needed)
    return last


def moved(jaxpr: Any, size: Callable[[Any], np.ndarray]) -> np.ndarray:
    """Bytes by kind that the operations of a jaxpr read and write, those of loops as often as
    they run."""
    total = size(None)
    for equation in jaxpr.eqns:
        inner = [moved(body, size) for body in hardware.inner_jaxprs(equation)]
        if inner:
            total = total + equation.params.get("length", 1) * sum(inner)
        elif equation.primitive.name not in _JOINED:
            for var in [*equation.invars, *equation.outvars]:
                total = total + size(var.aval)
    return total
