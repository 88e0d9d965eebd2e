"""A run from its start to its end: opened, trained, and where its numbers go bad taken back to a
checkpoint (`rollback`). What a step does is in `run_under_way`.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from videobert_jax.configuration import RunConfig
from videobert_jax.data.left_out import LeftOut
from videobert_jax.files import storage
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.training import (
    changed_settings,
    checkpoint,
    checkpoint_folder,
    checkpoint_verification,
    evaluation,
    goodput,
    initialization,
    inputs,
    metric_writers,
    processes,
    rollback,
    stages,
    wall_time,
)
from videobert_jax.training.run_under_way import RunUnderWay, TrainResult, say
from videobert_jax.weights import bert


def train(
    run: RunConfig,
    config: dict[str, Any],
    workdir: storage.Path | str,
    *,
    evaluators: Sequence[evaluation.Evaluator],
    stop: Callable[[int], bool] | None = None,
    load_bundle: Callable[[str], ModelBundle] = checkpoint.load_bundle,
    allow_change: Sequence[str] = (),
    began: float | None = None,
) -> TrainResult:
    """Trains to training.num_steps, or until SIGTERM; continues what the workdir holds.

    config: the settings as JSON, which the workdir keeps and compares. stop: asked before every
    step whether to save and stop there. load_bundle: reads init.checkpoint. allow_change: settings
    that must match and may be others than the workdir's (`changed_settings`). began: when the
    process did, in seconds of the epoch; None: now. Raises StorageError, RunRecordError,
    CheckpointError, DataStateError, DatasetError, DamagedDataError, RollbackError, DivergenceError
    where it cannot go back, and others of this package; a workdir that belongs to another run is
    left as it is.
    """
    clock = wall_time.WallTime(0.0 if began is None else max(0.0, time.time() - began))
    workdir = storage.path(workdir)
    storage.require_access(workdir)
    metric_writers.require(run.training.wandb_project)
    rollbacks = rollback.read(workdir)
    known = checkpoint_folder.manifest_steps(workdir)
    processes.require_same_start({**config, "allow_change": [*allow_change]}, known[-1:])
    accepted = changed_settings.accept(workdir, config, allow_change)
    last = run.training.num_steps
    changed_settings.require_steps(workdir, known, last)
    if known[-1:] == [last] and not checkpoint_verification.problems_of_step(workdir, last):
        say(f"{workdir}: this run is finished, all {last} steps are taken; nothing to do")
        return TrainResult(last, True, workdir)
    for line in accepted.said():
        say(line)
    with contextlib.closing(goodput.Goodput(clock)) as times:
        result = _taken(
            run,
            config,
            workdir,
            evaluators,
            load_bundle,
            times,
            rollback.left_out(rollbacks),
            accepted,
            stop,
            begins=not known,
        )
    say(f"the whole run: {times}")
    return result


def _taken(
    run: RunConfig,
    config: dict[str, Any],
    workdir: storage.Path,
    evaluators: Sequence[evaluation.Evaluator],
    load_bundle: Callable[[str], ModelBundle],
    times: goodput.Goodput,
    left: Sequence[LeftOut],
    accepted: changed_settings.Accepted,
    stop: Callable[[int], bool] | None,
    *,
    begins: bool,
) -> TrainResult:
    """All steps, opened anew after each time that the run goes back."""
    while True:
        with times.clock.spent_on(wall_time.START):
            training = _opened(
                run, config, workdir, evaluators, load_bundle, times, left, accepted, begins=begins
            )
        try:
            result = training.take_steps(stop)
        except rollback.DivergenceError as error:
            training.leave()
            settings = run.training
            made = rollback.roll_back(
                workdir, error, training.leaves_out(error), settings.max_rollbacks
            )
            say(f"{error} {made}")
            left, begins = (*left, *made.left_out), False
        except BaseException:
            training.checkpointer.abandon()
            raise
        else:
            training.checkpointer.close()
            return result


def _opened(
    run: RunConfig,
    config: dict[str, Any],
    workdir: storage.Path,
    evaluators: Sequence[evaluation.Evaluator],
    load_bundle: Callable[[str], ModelBundle],
    times: goodput.Goodput,
    left: Sequence[LeftOut],
    accepted: changed_settings.Accepted,
    *,
    begins: bool,
) -> RunUnderWay:
    """The run with its inputs, and with its state on the devices."""
    init, published = run.init, None  # a run that goes on needs what it began with no more
    if begins:
        initialization.require_vectors(init, run.model)
    if init.bert and begins:
        published = bert.load(init.bert, run.model, init.bert_video_layers)
    mesh = stages.create_mesh(run)
    initial = load_bundle(init.checkpoint) if init.checkpoint and begins else None
    if initial is not None and published is not None:
        initialization.require_apart(init, run.model, sorted(initial.variables["params"]))
    storage.make_folder(workdir)
    opened = inputs.open_inputs(run, workdir, initial, published, begins=begins, left=left)
    if published is not None:
        inputs.require_bert(opened, published)
    training = RunUnderWay(run, config, workdir, mesh, opened, evaluators, times, left, accepted)
    try:
        training.begin(initial, published)
    except BaseException:
        training.checkpointer.abandon()
        raise
    return training
