"""What a run says while it runs, one step late, so that no step waits for its own figures."""

import dataclasses
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from videobert_jax.data.device_feed import FeedReport
from videobert_jax.training import metrics
from videobert_jax.training.config import TrainingConfig

MAX_SKIPPED_UPDATES = 20  # in a row


class DivergenceError(ValueError):
    """A run whose gradients are no longer finite."""


@dataclasses.dataclass(frozen=True)
class _Dispatched:
    step: int
    figures: Mapping[str, Any]  # on the device
    feed: FeedReport


class Reporter:
    """Takes the figures of each step when it is dispatched and reports those of the step before.

    The first process writes and prints; all count updates that were skipped.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        settings: TrainingConfig,
        progress: metrics.Progress,
        *,
        restored_step: int,
    ) -> None:
        self._settings, self._progress = settings, progress
        self._before: _Dispatched | None = None
        self._skipped_in_a_row = self._skipped = self._damaged = 0
        self._writer: metrics.MetricsWriter | None = None
        if jax.process_index() == 0:
            self._writer = metrics.MetricsWriter(
                workdir,
                restored_step=restored_step,
                evaluates_again=settings.evaluates_at(restored_step),
            )

    def begin_stage(self, progress: metrics.Progress) -> None:
        """Reports the last step of the stage before; speeds are then those of `progress`."""
        self.flush()
        self._progress = progress

    def dispatched(self, step: int, figures: Mapping[str, Any], feed: FeedReport) -> None:
        """step: number of steps taken once this one is done. Raises DivergenceError."""
        self._report_before()
        self._before = _Dispatched(step, figures, feed)

    def flush(self) -> None:
        """Reports the last step that was dispatched. Raises DivergenceError."""
        self._report_before()
        self._before = None

    def evaluated(self, step: int, name: str, figures: Mapping[str, float], seconds: float) -> None:
        """Writes an evaluation; the time it took is not counted as training."""
        self._progress.leave_out(seconds)
        if self._writer is None:
            return
        self._writer.write(step, {f"{name}/{key}": value for key, value in figures.items()})
        shown = "  ".join(f"{key} {value:.4g}" for key, value in figures.items())
        metrics.show(f"step {step}  {name}: {shown}  ({metrics.duration(seconds)})")

    def close(self) -> None:
        """Closes the files."""
        if self._writer is not None:
            self._writer.close()

    def _report_before(self) -> None:
        if self._before is None:
            return
        step, feed = self._before.step, self._before.feed
        figures = {name: float(np.asarray(value)) for name, value in self._before.figures.items()}
        self._progress.add_step(feed.waited_seconds)
        self._damaged += feed.damaged
        self._count_skipped(step, figures["update_skipped"] > 0)
        last = step == self._settings.num_steps
        if step % self._settings.log_every and not last:
            return
        written: dict[str, float | None] = {**figures, **self._progress.speeds()}
        written |= {
            "skipped_updates": float(self._skipped),
            "damaged_examples": float(self._damaged),
        }
        if self._progress.stage is not None:
            written["stage"] = float(self._progress.stage)
        if self._writer is not None:
            self._writer.write(step, written)
            metrics.show(self._progress.line(step, written))

    def _count_skipped(self, step: int, skipped: bool) -> None:
        self._skipped += skipped
        self._skipped_in_a_row = self._skipped_in_a_row + 1 if skipped else 0
        if self._skipped_in_a_row == 1:
            metrics.show(f"step {step}: its gradient is not finite; the update is skipped")
        if self._skipped_in_a_row >= MAX_SKIPPED_UPDATES:
            raise DivergenceError(
                f"the gradients of the last {MAX_SKIPPED_UPDATES} steps, to step {step}, were not "
                "finite, so none changed the parameters. Look for infinite features with "
                "`videobert verify DATASET`, lower optimizer.learning_rate or optimizer.clip_norm, "
                "and start in a new --workdir."
            )


class Profile:
    """A profiler trace of some steps, written to WORKDIR/profile."""

    def __init__(self, workdir: pathlib.Path, settings: TrainingConfig) -> None:
        self._folder = str(workdir / "profile")
        self._first = settings.profile_first_step  # 0: none
        self._end = self._first + settings.profile_steps
        self._tracing = False

    def before_step(self, step: int, waited_for: Any) -> None:
        """Starts or ends the trace; at its end waits for `waited_for`, so that no step is cut."""
        if self._first and step == self._first and not self._tracing:
            jax.profiler.start_trace(self._folder)
            self._tracing = True
        elif self._tracing and step >= self._end:
            self.close(waited_for)

    def close(self, waited_for: Any) -> None:
        """Ends a trace that is under way."""
        if self._tracing:
            jax.block_until_ready(waited_for)
            jax.profiler.stop_trace()
            self._tracing = False
            metrics.show(f"profile written to {self._folder}")


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self._begun
