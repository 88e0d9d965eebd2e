"""The training loop. At every step: save -> next batch -> dispatch -> report the step before.

Nothing waits for the device but the copy that a save makes and the report of the step before,
whose figures the device has while it works on the next one.
"""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from videobert_jax import configuration, schema
from videobert_jax.configuration import RunConfig
from videobert_jax.data import data_state
from videobert_jax.data.device_feed import DamagedDataError, DeviceFeed
from videobert_jax.data.index import DatasetError
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.models.config import EMA, RAW
from videobert_jax.sharding import mesh as meshes
from videobert_jax.training import (
    checkpoint,
    checkpoint_folder,
    checkpoint_verification,
    initialization,
    inputs,
    manifest,
    metrics,
    preemption,
    reporting,
    run_record,
    stages,
    state,
    steps,
)
from videobert_jax.weights import bert


@runtime_checkable
class Evaluator(Protocol):
    """An evaluation during training."""

    @property
    def name(self) -> str: ...

    def __call__(self, bundle: ModelBundle) -> dict[str, float]: ...


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """How a call of `train` ended: at which step, and whether that was the last one."""

    step: int
    finished: bool
    workdir: pathlib.Path


def train(
    run: RunConfig,
    config: dict[str, Any],
    workdir: pathlib.Path,
    *,
    evaluators: Sequence[Evaluator],
    stop: Callable[[int], bool] | None = None,
    load_bundle: Callable[[str], ModelBundle] = checkpoint.load_bundle,
) -> TrainResult:
    """Trains to training.num_steps, or until SIGTERM; continues what the workdir holds.

    config: the settings as JSON, which the workdir keeps and compares. stop: asked before every
    step whether to save and stop there. load_bundle: reads init.checkpoint. Raises RunRecordError,
    CheckpointError, DataStateError, DatasetError, DamagedDataError, DivergenceError and others of
    this package; a workdir that belongs to another run is left as it is.
    """
    workdir = pathlib.Path(workdir)
    run_record.require_same_settings(workdir, config)
    known = checkpoint_folder.manifest_steps(workdir)
    last = run.training.num_steps
    if known[-1:] == [last] and not checkpoint_verification.problems_of_step(workdir, last):
        _say(f"{workdir}: this run is finished, all {last} steps are taken; nothing to do")
        return TrainResult(last, True, workdir)
    init, begins = run.init, not known  # a run that goes on needs what it began with no more
    published = None
    if begins:
        initialization.require_vectors(init, run.model)
    if init.bert and begins:
        published = bert.load(init.bert, run.model, init.bert_video_layers)
    mesh = _mesh(run)
    initial = load_bundle(init.checkpoint) if init.checkpoint and begins else None
    if initial is not None and published is not None:
        initialization.require_apart(init, run.model, sorted(initial.variables["params"]))
    workdir.mkdir(parents=True, exist_ok=True)
    opened = inputs.open_inputs(run, workdir, initial, published, begins=begins)
    if published is not None:
        inputs.require_bert(opened, published)
    training = _Training(run, config, workdir, mesh, opened, evaluators)
    try:
        training.begin(initial, published)
        result = training.take_steps(stop)
    except BaseException:
        training.checkpointer.abandon()
        raise
    training.checkpointer.close()
    return result


def _mesh(run: RunConfig) -> Mesh:
    """Raises ConfigError where settings do not fit the devices."""
    try:
        mesh = meshes.create_mesh(run.mesh)
        configuration.model_on(run, run.model, mesh.devices.flat[0].platform)
    except ValueError as error:
        raise configuration.ConfigError(str(error)) from error
    stages.require_fitting(run, mesh)
    return mesh


class _Training:
    """A run under way: its stages, and the state at hand."""

    def __init__(
        self,
        run: RunConfig,
        config: dict[str, Any],
        workdir: pathlib.Path,
        mesh: Mesh,
        opened: inputs.RunInputs,
        evaluators: Sequence[Evaluator],
    ) -> None:
        self.run, self.config, self.workdir = run, config, workdir
        self.mesh, self.inputs, self.evaluators = mesh, opened, evaluators
        self.stages = stages.create(run, opened, mesh)
        self.checkpointer = checkpoint.Checkpointer(
            workdir,
            keep=run.training.keep_checkpoints,
            config_sha256=run_record.fingerprint(config),
        )
        self.state: Any = None
        self.start = 0
        self.saved = -1  # the step last saved

    def begin(self, initial: ModelBundle | None, published: bert.Bert | None) -> None:
        """Restores the newest verified step, or makes the state of step 0; says which."""
        restored = self.checkpointer.restore_latest(lambda step: self._stage(step).structs)
        if restored is not None:
            current = self._stage(restored.step).data_state(restored.step)
            data_state.check_data_state(restored.data_state, current)
            self.state, self.start = restored.state, restored.step
            _say(f"{self.workdir}: continues at step {restored.step} of {self._num_steps}")
        else:
            self.state = state.create_state(
                self.stages[0].model,
                self.stages[0].rule,
                self.mesh,
                self.run.seed,
                self.inputs.statistics,
                self.inputs.visual_words,
            )
            self._take_over(initial, published)
        if jax.process_index() == 0:
            self._write_record(resumed=restored is not None)
        count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(self.state.params))
        _say(f"{self.run.name}: {count / 1e6:.1f} M parameters; {', '.join(self.inputs.names)}")
        for stage in self.stages:
            _say(str(stage))

    def _take_over(self, initial: ModelBundle | None, published: bert.Bert | None) -> None:
        """Puts what init.checkpoint and init.bert give into the state of step 0; says what."""
        init, found = self.run.init, {}
        if initial is not None:
            inputs.require_initial(self.run, self.inputs, initial)
            self.state, taken = initialization.initialize(self.state, initial, init.modules)
            found[f"init.checkpoint {init.checkpoint}"] = taken
        if published is not None:
            self.state, taken = initialization.initialize_with_bert(self.state, published)
            source = f"init.bert {init.bert} ({published.num_layers} layers, weights of sha256 "
            found[f"{source}{published.sha256[:12]})"] = taken
        self.state = state.with_average(self.state)
        given = {name for taken in found.values() for name in taken.taken}
        for source, taken in found.items():
            _say(f"{source}: {taken.beside(given)}")

    def take_steps(self, stop: Callable[[int], bool] | None) -> TrainResult:
        """All stages that are left; returns with the last state saved."""
        first, settings = self._stage(self.start), self.run.training
        self.reporter = reporting.Reporter(
            self.workdir, settings, first.progress(self._num_steps), restored_step=self.start
        )
        self.profile = reporting.Profile(self.workdir, settings)
        step, asked = self.start, False
        with preemption.StopSignal() as signal:
            for stage in self.stages[first.number :]:
                if stage is not first:
                    self._enter(stage)
                step, asked = self._take_stage(
                    stage, lambda step: signal.requested(step) or (stop is not None and stop(step))
                )
                if asked:
                    break
            self.reporter.flush()
            self.profile.close(self.state)
            if not asked:
                return self._finish()
        self.checkpointer.wait()
        self.reporter.close()
        reason = signal.reason or "asked to stop"
        _say(f"{reason}: saved step {step}; start again with the same command to continue")
        return TrainResult(step, False, self.workdir)

    def _enter(self, stage: stages.Stage) -> None:
        """Gives the state the form of a stage that follows on another."""
        self.reporter.begin_stage(stage.progress(self._num_steps))
        self.state, said = stages.carry_over(self.state, stage)
        _say(f"step {stage.first_step}: {stage.name} begins; {said}")

    def _take_stage(self, stage: stages.Stage, ask: Callable[[int], bool]) -> tuple[int, bool]:
        """The loop; (step, whether it was asked to stop there)."""
        settings, train_step = self.run.training, stage.compiled_step()
        begin = max(self.start, stage.first_step)
        with stage.feed(begin) as feed:
            for step in range(begin, stage.end):
                asked = ask(step)
                self.checkpointer.poll()
                if step > self.start and (asked or step % settings.save_every == 0):
                    self._save(step)
                if asked:
                    return step, True
                if settings.evaluates_at(step):
                    self.reporter.flush()
                    self._evaluate(step)
                self.profile.before_step(step, self.state)
                batch, report = self._next_batch(feed, step)
                if step == 0:
                    self._show_gradient_norms(batch)
                with jax.set_mesh(self.mesh):
                    self.state, figures = train_step(self.state, batch)
                self.reporter.dispatched(step + 1, figures, report)
        return stage.end, False

    def _next_batch(self, feed: DeviceFeed, step: int) -> tuple[schema.Batch, Any]:
        """The next batch; where the data cannot go on, the steps taken so far are saved first."""
        try:
            return next(feed)
        except (DamagedDataError, DatasetError):
            # With several processes only one may know, and a save is a matter of all.
            if jax.process_count() == 1 and step > self.start:
                self.reporter.flush()
                self._save(step)
                self.checkpointer.wait()
                _say(f"the data cannot go on: saved step {step}")
            raise

    def _finish(self) -> TrainResult:
        step = self._num_steps
        if step > self.start:
            self._save(step)
        if self.run.training.evaluates_at(step):
            self._evaluate(step)
        self.checkpointer.wait()
        self.reporter.close()
        _say(f"{self.workdir}: finished, all {step} steps are taken")
        return TrainResult(step, True, self.workdir)

    @property
    def _num_steps(self) -> int:
        return self.run.training.num_steps

    def _stage(self, step: int) -> stages.Stage:
        return stages.at(self.stages, step)

    def _save(self, step: int) -> None:
        if step == self.saved:
            return
        self.saved = step
        self.checkpointer.save(step, self.state, self._stage(step).data_state(step))

    def _write_record(self, *, resumed: bool) -> None:
        if resumed:  # what the model is and was trained on stays as it was first written
            run_record.update_settings(self.workdir, self.config)
            return
        run_record.write(
            self.workdir,
            self.config,
            model=self.inputs.model,
            contract=self.inputs.contract,
            trained_on=self.inputs.trained_on,
        )

    def _show_gradient_norms(self, batch: schema.Batch) -> None:
        """Prints each objective's gradient norm at step 0: 0 means that it teaches nothing."""
        stage = self.stages[0]
        every = stage.run.training.accumulation_steps  # as many blocks as fit at a time

        def norms(current: state.TrainState, batch: schema.Batch) -> Any:
            return steps.objective_gradient_norms(
                current,
                jax.tree.map(lambda values: values[::every], batch),
                model=stage.model,
                rule=stage.rule,
                objectives=stage.run.objectives,
                seed=self.run.seed,
            )

        with jax.set_mesh(self.mesh):
            found = jax.jit(norms)(self.state, batch)
        shown = ", ".join(f"{name} {float(value):.3g}" for name, value in found.items())
        _say(f"gradient norm of each objective at step 0: {shown}")

    def _evaluate(self, step: int) -> None:
        """Runs the evaluators, in every process alike, on parameters brought to the host."""
        watch = reporting.Stopwatch()
        variables = self.state.variables
        if jax.process_count() > 1:
            variables = multihost_utils.process_allgather(variables, tiled=True)
        variables = jax.device_get(variables)
        bundle = ModelBundle(
            config=self.inputs.model,
            data=self.run.data,
            variables=variables,
            tokenizer_model=self.inputs.tokenizer.model,
            contract=self.inputs.contract,
            trained_on=self.inputs.trained_on,
            step=step,
            digest=manifest.tree_digest(variables),
            weights=RAW if self.state.ema is None else EMA,
            name=self.run.name,
        )
        for evaluator in self.evaluators:
            figures = evaluator(bundle)
            self.reporter.evaluated(step, evaluator.name, figures, watch.seconds())
            watch = reporting.Stopwatch()


def _say(text: str) -> None:
    if jax.process_index() == 0:
        metrics.show(text)
