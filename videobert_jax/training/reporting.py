"""What a run says while it runs, one step late, so that no step waits for its own figures."""

import contextlib
import dataclasses
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from videobert_jax.data.device_feed import DamagedDataError, FeedReport
from videobert_jax.files import storage
from videobert_jax.training import (
    checkpoint_folder,
    lease,
    metric_writers,
    metrics,
    save_failures,
    wall_time,
)
from videobert_jax.training.config import TrainingConfig
from videobert_jax.training.rollback import DivergenceError

_DAMAGED = "damaged_examples"
_total = jax.jit(jnp.sum)  # over the blocks of a batch, which are of all processes


@dataclasses.dataclass(frozen=True)
class _Dispatched:
    step: int
    figures: Mapping[str, Any]  # on the device
    feed: FeedReport
    progress: metrics.Progress


class Reporter:
    """Takes the figures of each step when it is dispatched and reports those of the step before.

    The first process writes and prints; all count updates that were skipped, and the damaged
    examples of all. damage: says that those are too many, from the same step on in all processes.
    """

    def __init__(
        self,
        workdir: storage.Path,
        settings: TrainingConfig,
        clock: wall_time.WallTime,
        *,
        restored_step: int,
        config: Mapping[str, Any],
        failed_saves: Callable[[], int] = lambda: 0,
        before_upload: Callable[[], None] = lambda: None,
    ) -> None:
        """clock: of the run, whose intervals are reported. config: its settings as JSON.
        failed_saves: how many there were since the start. before_upload: called before each upload
        of figures to a bucket; a LeaseError of it keeps that from being made."""
        self._failed_saves = failed_saves
        self._settings, self._clock = settings, clock
        self._before: _Dispatched | None = None
        self._skipped_in_a_row = self._skipped = self._damaged = 0
        self.damage: DamagedDataError | None = None
        self._writer: metric_writers.MetricWriter | None = None
        if jax.process_index() == 0:
            self._writer = metric_writers.open_writers(
                workdir,
                restored_step=restored_step,
                evaluates_again=settings.evaluates_at(restored_step),
                wandb_project=settings.wandb_project,
                config=config,
                before_upload=before_upload,
            )

    def dispatched(
        self, step: int, figures: Mapping[str, Any], feed: FeedReport, progress: metrics.Progress
    ) -> None:
        """step: number of steps taken once this one is done. progress: of the step's stage. Raises
        DivergenceError."""
        self._report_before()
        figures = {**figures, _DAMAGED: _total(feed.damaged)}
        self._before = _Dispatched(step, figures, feed, progress)

    def end_stage(self) -> None:
        """Reports the last step of a stage, whatever its number, so that its speeds and times end
        there. Raises DivergenceError."""
        self._report_before(ends_stage=True)
        self._before = None

    def flush(self) -> None:
        """Reports the last step that was dispatched. Raises DivergenceError."""
        self._report_before()
        self._before = None

    def evaluated(self, step: int, name: str, figures: Mapping[str, float], seconds: float) -> None:
        """Writes and shows an evaluation, and how long it took."""
        if self._writer is None:
            return
        self._writer.write(step, {f"{name}/{key}": value for key, value in figures.items()})
        shown = "  ".join(f"{key} {value:.4g}" for key, value in figures.items())
        metrics.show(f"step {step}  {name}: {shown}  ({wall_time.duration(seconds)})")

    def sync(self) -> None:
        """Returns once what was reported is in the workdir."""
        if self._writer is not None:
            self._writer.sync()

    @contextlib.contextmanager
    def synced_on_error(self) -> Iterator[None]:
        """Context that an error leaves when what led there is in the workdir, unless that is a
        later start's now. What keeps it from being there is said: the error itself goes on."""
        try:
            yield
        except lease.LeaseError:
            raise
        except BaseException:
            try:
                self.sync()
            except Exception as error:  # each store has errors of its own
                checkpoint_folder.say(
                    f"{metric_writers.METRICS_FILE} lacks figures of the last steps: "
                    f"{save_failures.explained(error)}"
                )
            raise

    def close(self) -> None:
        """Closes the files, and says where the time went."""
        if jax.process_index() == 0:
            metrics.show(f"time of this start: {self._clock}")
        if self._writer is not None:
            self._writer.close()

    def _report_before(self, *, ends_stage: bool = False) -> None:
        if self._before is None:
            return
        step, feed, progress = self._before.step, self._before.feed, self._before.progress
        # Explicitly: the loop forbids every other transfer, and so none can slip in.
        figures = {k: float(value) for k, value in jax.device_get(self._before.figures).items()}
        progress.add_step(figures)
        damaged = int(figures[_DAMAGED])
        self._damaged += damaged
        self.damage = self.damage or feed.budget.spend(damaged)
        self._count_skipped(step, figures)
        last = ends_stage or step == self._settings.num_steps
        if step % self._settings.log_every and not last:
            return
        written: dict[str, float | None] = {**figures, **progress.speeds(self._clock.interval())}
        written |= {
            "skipped_updates": float(self._skipped),
            _DAMAGED: float(self._damaged),
            "failed_saves": float(self._failed_saves()),
        }
        if progress.stage is not None:
            written["stage"] = float(progress.stage)
        if self._writer is not None:
            self._writer.write(step, written)
            metrics.show(progress.line(step, written))

    def _count_skipped(self, step: int, figures: Mapping[str, float]) -> None:
        skipped = figures["update_skipped"] > 0
        self._skipped += skipped
        self._skipped_in_a_row = self._skipped_in_a_row + 1 if skipped else 0
        if self._skipped_in_a_row == 1:
            metrics.show(
                f"step {step}: loss {figures['loss']:.4g}, gradient norm "
                f"{figures['gradient_norm']:.4g}: not finite, or far beyond the steps before; the "
                "update is skipped"
            )
        bound = self._settings.max_skipped_updates
        if self._skipped_in_a_row >= bound:
            raise DivergenceError(
                f"The updates of the last {bound} steps, to step {step}, were not finite or far "
                "beyond those before (optimizer.spike_factor), so none changed the parameters. "
                "Where that comes again, look for infinite features with `videobert verify "
                "DATASET`, or lower optimizer.learning_rate or optimizer.clip_norm in a new "
                "--workdir.",
                first_step=step - bound,
                step=step,
            )


class Profile:
    """What WORKDIR/profile is to hold: a profiler trace of some steps, for TensorBoard and XProf,
    and what is in device memory before one of them, for pprof.

    A context that leaves no trace under way, by an error either: the next one could not begin.
    """

    def __init__(self, workdir: storage.Path, settings: TrainingConfig) -> None:
        self._target = workdir / "profile"
        self._first = settings.profile_first_step  # 0: none
        self._end = self._first + settings.profile_steps
        self._memory_step = settings.profile_memory_step  # 0: none
        self._trace: storage.Path | None = None  # folder of the one under way

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._end_trace()
        except Exception as error:  # the one that leaves the context matters more
            checkpoint_folder.say(f"{self._target} lacks a trace: {save_failures.explained(error)}")

    def before_step(self, step: int, waited_for: Any) -> None:
        """Starts or ends what begins or ends here; waits for `waited_for`, so that no step is cut
        and memory is as steps leave it."""
        if self._first and step == self._first and self._trace is None:
            jax.block_until_ready(waited_for)
            folder = self._local_folder()
            jax.profiler.start_trace(str(folder))
            self._trace = folder
        elif step >= self._end:
            self.close(waited_for)
        if self._memory_step and step == self._memory_step:
            jax.block_until_ready(waited_for)
            folder = self._local_folder()
            storage.make_folder(folder)
            path = folder / f"memory_step_{step}_process_{jax.process_index()}.prof"
            jax.profiler.save_device_memory_profile(str(path))
            self._deliver(folder)
            metrics.show(f"device memory before step {step} written to {self._target}/{path.name}")

    def close(self, waited_for: Any) -> None:
        """Ends a trace that is under way."""
        if self._trace is not None:
            jax.block_until_ready(waited_for)
            self._end_trace()

    def _end_trace(self) -> None:
        folder, self._trace = self._trace, None
        if folder is not None:
            jax.profiler.stop_trace()
            self._deliver(folder)
            metrics.show(f"profile written to {self._target}")

    def _local_folder(self) -> storage.Path:
        """Where the profiler writes: in a bucket it cannot."""
        if storage.is_remote(self._target):
            return pathlib.Path(tempfile.mkdtemp(prefix="profile-"))
        return self._target

    def _deliver(self, folder: storage.Path) -> None:
        if folder != self._target:
            storage.upload(pathlib.Path(folder), self._target)
            storage.remove(folder)
