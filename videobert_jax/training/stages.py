"""Stages of a run: stretches of steps that differ in optimizer, objectives, batch and sources.

Each has a step and blocks of its own. Parameters and constants go on from stage to stage; of the
optimizer's state what both stages have, leaf by leaf; and every source where it stood.
"""

import bisect
import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from videobert_jax import configuration, schema
from videobert_jax.configuration import RunConfig
from videobert_jax.data import data_state, left_out
from videobert_jax.data.block import BlockBuilder
from videobert_jax.data.device_feed import DeviceFeed
from videobert_jax.data.left_out import LeftOut
from videobert_jax.models.videobert import VideoBert
from videobert_jax.sharding import mesh as meshes
from videobert_jax.training import (
    abstract_step,
    guard,
    hardware,
    manifest,
    metrics,
    optimizer,
    steps,
)
from videobert_jax.training.abstract_step import AbstractStep
from videobert_jax.training.inputs import RunInputs
from videobert_jax.training.state import TrainState
from videobert_jax.training.update_rule import UpdateRule


def create_mesh(run: RunConfig) -> Mesh:
    """The run's mesh. Raises ConfigError where settings do not fit the devices."""
    try:
        mesh = meshes.create_mesh(run.mesh)
        platform = mesh.devices.flat[0].platform
        configuration.model_on(run, run.model, platform, mesh.shape["tensor"])
        meshes.require_divisible_dimensions(run.model.split_dimensions, mesh)
    except ValueError as error:
        raise configuration.ConfigError(str(error)) from error
    require_fitting(run, mesh)
    return mesh


def require_fitting(run: RunConfig, mesh: Mesh) -> None:
    """Raises ConfigError where the blocks of a stage's batch do not divide over the devices."""
    for name, stage in run.in_stages().items():
        try:
            meshes.require_divisible_blocks(
                stage.data.blocks_per_batch, stage.training.accumulation_steps, mesh
            )
        except ValueError as error:
            raise configuration.ConfigError(f"{name}: {error}" if name else str(error)) from error


@dataclasses.dataclass(frozen=True)
class Stage:
    """Steps `first_step` to `end` of a run, and all that takes them.

    name: "" where the run has no stages. run: the settings, training.num_steps the stage's own.
    """

    number: int
    name: str
    first_step: int
    run: RunConfig
    model: VideoBert
    mesh: Mesh
    builder: BlockBuilder
    left_out: tuple[LeftOut, ...] = ()  # of its batches

    @property
    def end(self) -> int:
        """The first step that is not the stage's own any more."""
        return self.first_step + self.run.training.num_steps

    @functools.cached_property
    def rule(self) -> UpdateRule:
        settings = self.run.optimizer
        num_steps = self.run.training.num_steps
        return optimizer.create_rule(settings, num_steps, self.model, self.first_step)

    @functools.cached_property
    def step(self) -> AbstractStep:
        """The training step, and the shapes and layouts of its arguments."""
        shape = self.builder.settings.shape
        return abstract_step.of(self.run, self.model, self.rule, self.mesh, shape)

    def jitted_gradient_norms(self) -> Any:
        """The norm of each objective's gradient, of (state, batch), on as many blocks as fit at a
        time."""
        every = self.run.training.accumulation_steps

        def norms(current: TrainState, batch: schema.Batch) -> Any:
            return steps.objective_gradient_norms(
                current,
                jax.tree.map(lambda values: values[::every], batch),
                model=self.model,
                rule=self.rule,
                objectives=self.run.objectives,
                seed=self.run.seed,
            )

        return jax.jit(norms)

    def feed(self, step: int) -> DeviceFeed:
        """Batches of the steps from `step` of the run to the stage's end."""
        data = self.run.data
        return DeviceFeed(
            self.builder,
            self.mesh,
            data.blocks_per_batch,
            left_out.stretches(self.left_out, self.first_step, step, self.end),
            data.executor,
            data.workers,
            data.prefetch,
        )

    def data_state(self, step: int) -> dict[str, Any]:
        """What a checkpoint of `step` says about the data."""
        return data_state.data_state(
            self.builder,
            self.run.data.blocks_per_batch,
            step,
            stage=self.number,
            first_step=self.first_step,
            left_out=self.left_out,
        )

    def batch_of(self, step: int) -> int:
        """The number, from 0 in the stage, of the batch that a step of the run takes."""
        return left_out.batch_of(self.left_out, self.first_step, step)

    def positions(self, part: LeftOut) -> dict[str, list[int]]:
        """Of each source, [first, end) of what it gives to the batches of these steps."""

        def given(step: int) -> list[int]:
            blocks = self.builder.blocks_given(self.batch_of(step) * self.run.data.blocks_per_batch)
            return [count * self.run.data.block_size for count in blocks]

        names = [source.split.name for source in self.builder.sources]
        ranges = zip(given(part.step), given(part.step + part.batches), strict=True)
        return dict(zip(names, map(list, ranges), strict=True))

    def leaves_out(self, first_step: int, end: int) -> LeftOut | None:
        """The batches of the run's steps `first_step` to before `end` that are the stage's own."""
        begin, stop = max(first_step, self.first_step), min(end, self.end)
        return LeftOut(begin, stop - begin) if stop > begin else None

    def progress(self, num_steps: int) -> metrics.Progress:
        """Speeds of the stage in a run of `num_steps`; measures the devices at the first call."""
        data, peak = self.run.data, hardware.peak_flops(jax.devices()[0].device_kind)
        dtype = self.model.config.compute_dtype
        return metrics.Progress(
            num_steps=num_steps,
            stage=self.number if self.name else None,
            examples_a_step=data.global_batch_size,
            peak_flops=None if peak is None else peak * self.mesh.size,
            matmul_flops_a_step=self.step.matmul_flops,
            matmul_rate=hardware.measured_matmul_rate(self.mesh, dtype),
        )

    def __str__(self) -> str:
        """ "stages.1: steps 100 to 300, of 512 examples each"."""
        named = f"{self.name}: " if self.name else ""
        size = self.run.data.global_batch_size
        return f"{named}steps {self.first_step} to {self.end}, of {size} examples each"


def create(
    run: RunConfig, inputs: RunInputs, mesh: Mesh, left: Sequence[LeftOut] = ()
) -> tuple[Stage, ...]:
    """The stages of a run in their order; one, without a name, where it has none. left: batches
    that are left out, for which `inputs` was made too.

    Raises ConfigError where the mesh does not divide a dimension that the tokenizer has set.
    """
    try:
        meshes.require_divisible_dimensions(inputs.model.split_dimensions, mesh)
    except ValueError as error:
        raise configuration.ConfigError(str(error)) from error
    platform = mesh.devices.flat[0].platform
    network = configuration.model_on(run, inputs.model, platform, mesh.shape["tensor"])
    model, first_step, created = VideoBert(network), 0, []
    named = zip(run.in_stages().items(), inputs.builders, strict=True)
    for number, ((name, stage), builder) in enumerate(named):
        end = first_step + stage.training.num_steps
        own = left_out.of_stage(left, first_step, end)
        created.append(Stage(number, name, first_step, stage, model, mesh, builder, own))
        first_step = end
    return tuple(created)


def at(stages: Sequence[Stage], step: int) -> Stage:
    """The stage that takes a step, and to which its checkpoint belongs; behind all, the last."""
    return stages[bisect.bisect_right(stages, step, key=lambda stage: stage.first_step) - 1]


def carry_over(before: TrainState, stage: Stage) -> tuple[TrainState, str]:
    """(the state with which a stage begins, out of that with which the one before ended; what of
    the optimizer's it keeps, begins and drops). Call it outside any mesh context.

    Leaves of the optimizer and of the moving average go on where both stages have them, but for the
    schedule's step; others begin as they would in a new run, the average from the parameters. So
    does the guard's window: another loss has another size. Moments that begin are not corrected for
    their bias, since Adam's count is one for all and goes on: an update is 0.7 times as large at
    first, and up to 1.6 times around the 14th step (b2 0.98), for which a stage has its warm-up.
    """
    had, wanted = (_changing(whole) for whole in (before, stage.step.state))
    carried, structs = manifest.named_leaves(had), manifest.named_leaves(wanted)
    counts = _schedule_counts(wanted)
    fresh = [name for name in structs if name not in carried or name in counts]

    def begin(params: Any) -> dict[str, Any]:
        opt_state, ema = stage.rule.begin(params)
        leaves = manifest.named_leaves({"opt_state": opt_state, "ema": ema})
        return {name: leaves[name] for name in fresh}

    layouts = {name: structs[name].sharding for name in fresh}
    leaves = carried | jax.jit(begin, out_shardings=layouts)(before.params)
    merged = jax.tree.unflatten(jax.tree.structure(wanted), [leaves[name] for name in structs])
    modules = set(before.params)
    said = [
        f"{verb} {', '.join(_parts(names, modules))}"
        for verb, names in (
            ("keeps", set(structs) - set(fresh)),
            ("begins", set(fresh) - counts),
            ("drops", set(carried) - set(structs)),
        )
        if names
    ]
    merged["window"] = fresh_window(stage.step.state)
    return dataclasses.replace(before, **merged), f"the optimizer {'; '.join(said)}"


def fresh_window(structs: TrainState) -> jax.Array | None:
    """The guard's window with which a stage begins, laid out as its state is."""
    if structs.window is None:
        return None
    return jax.jit(guard.empty, out_shardings=structs.window.sharding)()


def with_window(restored: TrainState, stages: Sequence[Stage], step: int) -> TrainState:
    """The state of a checkpoint, with a window for the guard where it was saved without one."""
    structs = at(stages, step).step.state
    if restored.window is not None or structs.window is None:
        return restored
    return dataclasses.replace(restored, window=fresh_window(structs))


def _changing(whole: TrainState) -> dict[str, Any]:
    """The parts of a state that depend on the rule."""
    return {"opt_state": whole.opt_state, "ema": whole.ema}


def _schedule_counts(tree: Any) -> set[str]:
    """Names of the leaves that count the steps of a learning rate's schedule."""

    def is_count(node: Any) -> bool:
        return isinstance(node, optax.ScaleByScheduleState)

    found = jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_count)
    schedules = [path for path, node in found if is_count(node)]
    return {jax.tree_util.keystr(path, simple=True, separator="/") + "/count" for path in schedules}


def _parts(names: set[str], modules: set[str]) -> list[str]:
    """What leaves are of: modules, the moving average, or what all modules share."""
    found = set()
    for first, *rest in (name.split("/") for name in names):
        module = next((part for part in rest if part in modules), rest[-1])
        found.add("moving average" if first == "ema" else module)
    return sorted(found)
