"""A run under way: its stages, and the state at hand. At every step: save -> next batch ->
dispatch -> report the step before.

Nothing waits for the device but the copy that a save makes and the report of the step before,
whose figures the device has while it works on the next one. A transfer guard holds that: between
batch and report nothing goes to or from a device but what says so.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from videobert_jax import configuration, schema
from videobert_jax.configuration import RunConfig
from videobert_jax.data import data_state
from videobert_jax.data.device_feed import DeviceFeed
from videobert_jax.data.index import DatasetError
from videobert_jax.data.left_out import LeftOut
from videobert_jax.files import stopping, storage
from videobert_jax.models.bundle import ModelBundle, without_extra_heads
from videobert_jax.models.config import EMA, RAW
from videobert_jax.training import (
    changed_settings,
    checkpoint,
    evaluation,
    initialization,
    inputs,
    lease,
    manifest,
    metrics,
    processes,
    reporting,
    rollback,
    run_record,
    save_failures,
    stages,
    state,
    wall_time,
)
from videobert_jax.training.attended import Attended
from videobert_jax.weights import bert


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """How a run ended: at which step, and whether that was the last one."""

    step: int
    finished: bool
    workdir: storage.Path


class RunUnderWay:
    """A run under way: its stages, and the state at hand."""

    def __init__(
        self,
        run: RunConfig,
        accepted: changed_settings.Accepted,
        workdir: storage.Path,
        mesh: Mesh,
        opened: inputs.RunInputs,
        evaluators: Sequence[evaluation.Evaluator],
        attended: Attended,
        left: Sequence[LeftOut],
        held: lease.Lease | None,
    ) -> None:
        """held: the lease of this start, where it opens the run once more."""
        self.times, self.clock = attended.times, attended.clock
        self.signal, self.watch = attended.signal, attended.watch
        self.run, self.config, self.workdir = run, accepted.config, workdir
        self.mesh, self.inputs, self.evaluators = mesh, opened, evaluators
        self.stages = stages.create(run, opened, mesh, left)
        self.checkpointer = checkpoint.Checkpointer(
            workdir,
            keep=run.training.keep_checkpoints,
            config_sha256=run_record.fingerprint(self.config),
            before_writing=self._before_writing,
            earlier_sha256=accepted.fingerprints,
            casts="parameter_dtypes" in accepted.allowed,
        )
        self.accepted, self.data_changes = accepted, list[str]()
        self.lease = held  # of process 0, once the processes agree
        self.state: Any = None
        self.start = 0

    def begin(self, initial: ModelBundle | None, published: bert.Bert | None) -> None:
        """Restores the newest verified step, or makes the state of step 0; says which."""
        data = configuration.flat_settings(self.stages[0].data_state(0))
        processes.require_agreement("the data", data)
        if jax.process_index() == 0 and self.lease is None:
            self.lease = lease.take(self.workdir)
            self.times.open(self.lease)
        with self.clock.spent_on(wall_time.RESTORE):
            restored = self.checkpointer.restore_latest(lambda step: self._stage(step).step.state)
        if restored is not None:
            current = self._stage(restored.step).data_state(restored.step)
            self.data_changes = data_state.check_data_state(
                restored.data_state, current, self.accepted.patterns
            )
            for change in self.data_changes:
                say(f"{change}: let through by --allow-change")
            self.state = stages.with_window(restored.state, self.stages, restored.step)
            self.start = restored.step
            say(f"{self.workdir}: continues at step {restored.step} of {self._num_steps}")
        else:
            self.state = state.create_state(
                self.stages[0].model,
                self.stages[0].rule,
                self.mesh,
                self.run.seed,
                self.inputs.statistics,
                self.inputs.visual_words,
                from_centroids=self.run.init.visual_word_embeddings == "centroids",
            )
            self._take_over(initial, published)
        self.times.goes_on_from(self.start)
        self.evaluations = evaluation.Evaluations(
            self.workdir, self.run.training, self.evaluators, self.checkpointer
        )
        if jax.process_index() == 0:
            self._write_record(resumed=restored is not None)
        count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(self.state.params))
        say(f"{self.run.name}: {count / 1e6:.1f} M parameters; {', '.join(self.inputs.names)}")
        for stage in self.stages:
            say(str(stage))

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
            say(f"{source}: {taken.beside(given)}")

    def take_steps(self, stop: Callable[[int], bool] | None) -> TrainResult:
        """All stages that are left; returns, or raises DamagedDataError, with the state saved."""
        settings = self.run.training
        self.reporter = reporting.Reporter(
            self.workdir,
            settings,
            self.clock,
            restored_step=self.start,
            config=self.config,
            failed_saves=lambda: self.checkpointer.failed_saves,
            before_upload=self._require_last,
        )
        self.profile = reporting.Profile(self.workdir, settings)
        with self.reporter.synced_on_error(), self.profile:
            step, asked = self._take_stages(
                lambda step: self._point(step) or (stop is not None and stop(step))
            )
            self.reporter.flush()
            with self.clock.spent_on(wall_time.PROFILE):
                self.profile.close(self.state)
            if not asked:
                asked = not self._finish()
            self._require_saved(step)
        self.reporter.close()
        if self.reporter.damage is not None:
            say(f"the data cannot go on: saved step {step}")
            raise self.reporter.damage
        if not asked:
            say(f"{self.workdir}: finished, all {step} steps are taken")
            return TrainResult(step, True, self.workdir)
        reason = self.signal.reason or "asked to stop"
        say(f"{reason}: saved step {step}; start again with the same command to continue")
        return TrainResult(step, False, self.workdir)

    def leave(self) -> None:
        """Ends what writes, so that the workdir can be opened anew. All raise LeaseError alike."""
        lease.require_last(self.lease)
        self.checkpointer.close()
        self.reporter.close()

    def leaves_out(
        self, error: rollback.DivergenceError
    ) -> list[tuple[LeftOut, dict[str, list[int]]]]:
        """The batches of updates that were skipped, a stage at a time, and their data positions."""
        of_stages = ((s, s.leaves_out(error.first_step, error.step)) for s in self.stages)
        return [(own, stage.positions(own)) for stage, own in of_stages if own is not None]

    def _take_stages(self, ask: Callable[[int], bool]) -> tuple[int, bool]:
        """As `_take_stage`, of all stages that are left."""
        first, step, asked = self._stage(self.start), self.start, False
        for stage in self.stages[first.number :]:
            if stage is not first:
                self._enter(stage)
            step, asked = self._take_stage(stage, ask)
            if asked:
                break
        return step, asked

    def _enter(self, stage: stages.Stage) -> None:
        """Gives the state the form of a stage that follows on another."""
        self.reporter.end_stage()
        self.state, said = stages.carry_over(self.state, stage)
        say(f"step {stage.first_step}: {stage.name} begins; {said}")

    def _take_stage(self, stage: stages.Stage, ask: Callable[[int], bool]) -> tuple[int, bool]:
        """The loop; (step, whether it was asked to stop there)."""
        settings, progress = self.run.training, None
        begin = max(self.start, stage.first_step)
        with stage.feed(begin) as feed:
            for step in range(begin, stage.end):
                asked = ask(step)
                with self.clock.spent_on(wall_time.CHECKPOINT):
                    self.checkpointer.poll()
                if step > self.start and (asked or step % settings.save_every == 0):
                    self._save(step)
                if asked:
                    return step, True
                if settings.evaluates_at(step):
                    self.reporter.flush()
                    if not self._evaluate(step):
                        self._save(step)
                        return step, True
                with self.clock.spent_on(wall_time.PROFILE):
                    self.profile.before_step(step, self.state)
                with self.clock.spent_on(wall_time.DATA):
                    batch, report = self._next_batch(feed, step)
                if step == 0:
                    self._show_gradient_norms(batch)
                if progress is None:
                    train_step = self._compiled(lambda: stage.step.program, f"step {step}")
                    with self.clock.spent_on(wall_time.COMPILE):
                        progress = stage.progress(self._num_steps)
                    self.signal.hold()
                    if step > self.start and self._point(step):  # compiling may take minutes
                        self._save(step)
                        return step, True
                with (
                    self.clock.spent_on(wall_time.STEP),
                    jax.transfer_guard("disallow"),
                    jax.set_mesh(self.mesh),
                ):
                    self.state, figures = train_step(self.state, batch)
                    self.reporter.dispatched(step + 1, figures, report, progress)
                self.times.taken(step + 1)
        return stage.end, False

    def _next_batch(self, feed: DeviceFeed, step: int) -> tuple[schema.Batch, Any]:
        """The next batch; where the data cannot go on, the steps taken so far are saved first."""
        try:
            return next(feed)
        except DatasetError:  # of several processes this one alone knows, and a save is of all
            if jax.process_count() == 1 and step > self.start:
                self.reporter.flush()
                if self._saved(step):
                    say(f"the data cannot go on: saved step {step}")
            raise

    def _finish(self) -> bool:
        """Saves and evaluates the last step; whether the evaluation came to its end."""
        step = self._num_steps
        if step > self.start:
            self._save(step)
        return not self.run.training.evaluates_at(step) or self._evaluate(step)

    def _point(self, step: int) -> bool:
        """The run is alive, before this step; whether it is to stop here, in all processes."""
        self.watch.beat(step)
        return self.signal.requested() or self.reporter.damage is not None

    @property
    def _num_steps(self) -> int:
        return self.run.training.num_steps

    def _stage(self, step: int) -> stages.Stage:
        return stages.at(self.stages, step)

    def _save(self, step: int) -> None:
        if step == self.checkpointer.newest:
            return
        with self.clock.spent_on(wall_time.CHECKPOINT):
            self.checkpointer.save(step, self.state, self._stage(step).data_state(step))
        self.times.saved(step)

    def _saved(self, step: int) -> bool:
        """Whether a step has its manifest, which is waited for; what fails is tried once more."""
        for _ in range(2):
            self._save(step)
            with self.clock.spent_on(wall_time.CHECKPOINT):
                self.checkpointer.wait()
            if step == self.checkpointer.newest:
                return True
        return False

    def _require_saved(self, step: int) -> None:
        """Returns once the last save has its manifest. Raises SaveError where it fails twice."""
        if step > self.start and not self._saved(step):
            raise save_failures.of_last(self.workdir, step, self.checkpointer.failure)

    def _before_writing(self) -> None:
        """A step that counts has its figures beside it, and is of the last start of the run."""
        self._require_last()
        self.reporter.sync()

    def _require_last(self) -> None:
        """Raises LeaseError where the workdir is a later start's."""
        if self.lease is not None:
            self.lease.require_last()

    def _write_record(self, *, resumed: bool) -> None:
        if resumed:  # what the model is and was trained on stays as it was first written
            changed_settings.record(self.workdir, self.accepted, self.start, self.data_changes)
            if self.accepted.changes or self.data_changes:
                run_record.update_model(self.workdir, self.inputs.model, self.inputs.trained_on)
            run_record.update_settings(self.workdir, self.config)
            return
        run_record.write(
            self.workdir,
            self.config,
            model=self.inputs.model,
            contract=self.inputs.contract,
            trained_on=self.inputs.trained_on,
            answers=self.inputs.answers,
            clip_labels=self.inputs.clip_labels,
        )

    def _show_gradient_norms(self, batch: schema.Batch) -> None:
        """Prints each objective's gradient norm at step 0: 0 means that it teaches nothing."""
        jitted = self.stages[0].jitted_gradient_norms()
        norms = self._compiled(lambda: jitted.lower(self.state, batch).compile(), "gradient norms")
        with self.clock.spent_on(wall_time.STEP), jax.set_mesh(self.mesh):
            found = jax.device_get(norms(self.state, batch))
        shown = ", ".join(f"{name} {float(value):.3g}" for name, value in found.items())
        say(f"gradient norm of each objective at step 0: {shown}")

    def _compiled(self, compile_it: Callable[[], Any], name: str) -> Any:
        """A program of (state, batch), compiled in every process. name: no other has it."""
        with self.clock.spent_on(wall_time.COMPILE), jax.set_mesh(self.mesh):
            program = compile_it()
            processes.wait_for_all(f"{name} compiled")
        return program

    def _evaluate(self, step: int) -> bool:
        """Runs the evaluators, in every process alike, on parameters brought to the host.

        False where they are to stop between two batches. What was found until then counts for
        nothing: the next start evaluates the step anew.
        """

        def look() -> None:
            if self._point(step):
                raise stopping.Stopped

        try:
            with self.clock.spent_on(wall_time.EVALUATION), stopping.asking(look):
                self.evaluations.run(step, self._bundle(step), self.reporter.evaluated, self._save)
        except stopping.Stopped:
            say(f"step {step}: the evaluation is stopped, and is made anew by the next start")
            return False
        return True

    def _bundle(self, step: int) -> ModelBundle:
        """The network as it is now, on the host."""
        variables = self.state.variables
        if jax.process_count() > 1:
            variables = multihost_utils.process_allgather(variables, tiled=True)
        config, variables = without_extra_heads(self.inputs.model, jax.device_get(variables))
        return ModelBundle(
            config=config,
            data=self.run.data,
            variables=variables,
            tokenizer_model=self.inputs.tokenizer.model,
            contract=self.inputs.contract,
            trained_on=self.inputs.trained_on,
            answers=self.inputs.answers,
            clip_labels=self.inputs.clip_labels,
            step=step,
            digest=manifest.tree_digest(variables),
            weights=RAW if self.state.ema is None else EMA,
            name=self.run.name,
            captioning_inputs=self.run.captioning_inputs,
        )


def say(text: str) -> None:
    """A line on standard output, from the first process."""
    if jax.process_index() == 0:
        metrics.show(text)
