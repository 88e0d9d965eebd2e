"""A run from its start to its end: opened, trained, and where its numbers go bad taken back to a
checkpoint (`rollback`). What a step does is in `run_under_way`.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from videobert_jax.configuration import RunConfig
from videobert_jax.data.left_out import LeftOut
from videobert_jax.files import storage
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.training import (
    checkpoint,
    checkpoint_folder,
    checkpoint_verification,
    evaluation,
    initialization,
    inputs,
    metric_writers,
    peers,
    preemption,
    processes,
    rollback,
    run_record,
    stages,
    wall_time,
    watchdog,
)
from videobert_jax.training.run_under_way import Attended, RunUnderWay, TrainResult, say
from videobert_jax.weights import bert


def train(
    run: RunConfig,
    config: dict[str, Any],
    workdir: storage.Path | str,
    *,
    evaluators: Sequence[evaluation.Evaluator],
    stop: Callable[[int], bool] | None = None,
    load_bundle: Callable[[str], ModelBundle] = checkpoint.load_bundle,
    signal: preemption.StopSignal | None = None,
) -> TrainResult:
    """Trains to training.num_steps, or until SIGTERM; continues what the workdir holds.

    config: the settings as JSON, which the workdir keeps and compares. stop: asked before every
    step whether to save and stop there. load_bundle: reads init.checkpoint. signal: where the
    program has one that goes further back than this call. Raises StorageError,
    RunRecordError, CheckpointError, DataStateError, DatasetError, DamagedDataError, RollbackError,
    DivergenceError where it cannot go back, and others of this package; a workdir that belongs to
    another run is left as it is. Where a signal comes before the first step, or the run hangs, the
    process ends at once (`preemption`, `watchdog`).
    """
    clock, workdir = wall_time.WallTime(), storage.path(workdir)
    timeout = run.training.step_timeout_seconds
    given = None if signal is None else contextlib.nullcontext(signal)
    with (
        given or preemption.StopSignal(peers.open_group()) as stop_signal,
        watchdog.Watchdog(workdir, clock, timeout, peers.open_group()) as watch,
    ):
        attended = Attended(clock, stop_signal, watch)
        return _train(run, config, workdir, evaluators, stop, load_bundle, attended)


def _train(
    run: RunConfig,
    config: dict[str, Any],
    workdir: storage.Path,
    evaluators: Sequence[evaluation.Evaluator],
    stop: Callable[[int], bool] | None,
    load_bundle: Callable[[str], ModelBundle],
    attended: Attended,
) -> TrainResult:
    clock = attended.clock
    storage.require_access(workdir)
    metric_writers.require(run.training.wandb_project)
    rollbacks = rollback.read(workdir)
    known = checkpoint_folder.manifest_steps(workdir)
    processes.require_same_start(config, known[-1:])
    run_record.require_same_settings(workdir, config)
    last = run.training.num_steps
    whole = known[-1:] == [last] and evaluation.is_complete(workdir, run.training, evaluators)
    if whole and not checkpoint_verification.problems_of_step(workdir, last):
        say(f"{workdir}: this run is finished, all {last} steps are taken; nothing to do")
        return TrainResult(last, True, workdir)
    left, begins = rollback.left_out(rollbacks), not known
    while True:
        with clock.spent_on(wall_time.START):
            training = _opened(
                run, config, workdir, evaluators, load_bundle, attended, left, begins=begins
            )
        try:
            result = training.take_steps(stop)
        except rollback.DivergenceError as error:
            training.leave()
            attended.signal.release()  # the newest checkpoint is the state that goes on
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
    attended: Attended,
    left: Sequence[LeftOut],
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
    training = RunUnderWay(run, config, workdir, mesh, opened, evaluators, attended, left)
    try:
        training.begin(initial, published)
    except BaseException:
        training.checkpointer.abandon()
        raise
    return training
