"""Evaluations during training, and the best step by one of their figures.

The best step stays among the checkpoints whatever its age, and WORKDIR/best.json names it, so that
`WORKDIR@best` can be evaluated and exported.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from jax.experimental import multihost_utils

from videobert_jax.files import atomic, storage
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.training import checkpoint_folder, metric_writers, save_failures
from videobert_jax.training.checkpoint import Checkpointer
from videobert_jax.training.checkpoint_errors import CheckpointError
from videobert_jax.training.config import TrainingConfig

Report = Callable[[int, str, dict[str, float], float], None]  # of step, evaluator, figures, seconds


@runtime_checkable
class Evaluator(Protocol):
    """An evaluation during training."""

    @property
    def name(self) -> str: ...

    def __call__(self, bundle: ModelBundle) -> dict[str, float]: ...


def is_complete(
    workdir: storage.Path, settings: TrainingConfig, evaluators: Sequence[Evaluator]
) -> bool:
    """Whether the figures of the last step, where they are due, are in the workdir: the step is
    saved before it is evaluated."""
    last, names = settings.num_steps, {evaluator.name for evaluator in evaluators}
    return not settings.evaluates_at(last) or names <= metric_writers.evaluated_at(workdir, last)


class Evaluations:
    """Runs evaluators, in every process alike, and keeps the step whose figure is best."""

    def __init__(
        self,
        workdir: storage.Path,
        settings: TrainingConfig,
        evaluators: Sequence[Evaluator],
        checkpointer: Checkpointer,
    ) -> None:
        """After the checkpointer has restored, if it does: what it set aside cannot be best."""
        self._workdir, self._settings, self._evaluators = workdir, settings, evaluators
        self._checkpointer = checkpointer
        found = checkpoint_folder.read_best(workdir)
        if _of_first_process(found is not None):
            if found is None:
                raise CheckpointError(
                    f"{workdir}: the first process finds a best step there, process "
                    f"{jax.process_index()} none; give all of them the same shared --workdir."
                )
            checkpointer.keep_besides(found.step)  # whatever this start looks for
        elif jax.process_index() == 0:
            (workdir / checkpoint_folder.BEST_FILE).unlink(missing_ok=True)  # its step is gone
        sought = (settings.best_metric, settings.best_is_highest)
        self._best = found if found and (found.metric, found.highest) == sought else None

    def run(
        self, step: int, bundle: ModelBundle, report: Report, save: Callable[[int], None]
    ) -> None:
        """Reports the figures of every evaluator. save: called with the step where that is the best
        so far.

        Raises CheckpointError, once the step is saved, where no evaluation has the figure, what
        evaluators raise, and Stopped between two batches.
        """
        found = {}
        for evaluator in self._evaluators:
            begun = time.monotonic()
            try:
                figures = evaluator(bundle)
            except Exception:
                if jax.process_count() == 1:  # else a save is a matter of all, and one may know
                    save(step)
                    self._checkpointer.wait()
                raise
            seconds = time.monotonic() - begun
            report(step, evaluator.name, figures, seconds)
            found |= {f"{evaluator.name}/{name}": value for name, value in figures.items()}
        if self._settings.best_metric:
            self._judge(step, found, save)

    def _judge(self, step: int, found: dict[str, float], save: Callable[[int], None]) -> None:
        """Keeps the step where it is the best so far."""
        name = self._settings.best_metric
        if name not in found:
            save(step)
            self._checkpointer.wait()
            saved = "is saved" if self._checkpointer.newest == step else "could not be saved"
            remedy = "start again with --config.training.best_metric of those."
            if step == self._settings.num_steps:
                remedy = f"the last, so evaluate it by eval.py --checkpoint={self._workdir}@{step}."
            raise CheckpointError(
                f"training.best_metric={name}: no evaluation gives it; there are "
                f"{', '.join(sorted(found)) or 'none'}. Step {step} {saved}: {remedy}"
            )
        best = checkpoint_folder.Best(
            step, name, float(found[name]), self._settings.best_is_highest
        )
        if not math.isfinite(best.value):
            checkpoint_folder.say(f"step {step}: {name} is {best.value}, which is never the best")
        elif _of_first_process(self._improves(best)):  # rounding must not part the processes
            self._keep(best, save)

    def _improves(self, best: checkpoint_folder.Best) -> bool:
        if self._best is None:
            return True
        return best.value > self._best.value if best.highest else best.value < self._best.value

    def _keep(self, best: checkpoint_folder.Best, save: Callable[[int], None]) -> None:
        save(best.step)
        self._checkpointer.wait()
        if self._checkpointer.newest != best.step:
            return  # the file never names a step that is not there
        if not _of_first_process(jax.process_index() == 0 and self._write(best)):
            return  # the one before stays the best, in the file and among the checkpoints
        self._best = best
        self._checkpointer.keep_besides(best.step)
        checkpoint_folder.say(f"step {best.step} is the best by {best.metric}: {best.value:.4g}")

    def _write(self, best: checkpoint_folder.Best) -> bool:
        """Whether the file names this step. What a disk does not take ends no run."""
        fields = {"format": checkpoint_folder.BEST_FORMAT, **dataclasses.asdict(best)}
        file = self._workdir / checkpoint_folder.BEST_FILE
        try:
            atomic.write_json(file, fields)
        except Exception as error:  # each store has errors of its own
            checkpoint_folder.say(
                f"SAVE FAILED: {file} cannot name step {best.step}, the best by {best.metric} "
                f"({best.value:.4g}): {save_failures.explained(error)}. The run goes on; a later "
                "step that is better than the one it names will be named."
            )
            return False
        return True


def _of_first_process(said: bool) -> bool:
    """What the first process says, in all of them."""
    if jax.process_count() == 1:
        return said
    return bool(multihost_utils.broadcast_one_to_all(np.array(said)))
