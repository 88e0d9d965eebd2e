"""A run from its start to its end: opened, trained, and where its numbers go bad taken back to a
checkpoint (`rollback`). What a step does is in `run_under_way`.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

from videobert_jax.configuration import RunConfig
from videobert_jax.data.left_out import LeftOut
from videobert_jax.files import storage
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.training import (
    changed_settings,
    checkpoint_bundle,
    checkpoint_folder,
    checkpoint_verification,
    evaluation,
    goodput,
    initialization,
    inputs,
    lease,
    metric_writers,
    peers,
    preemption,
    processes,
    rollback,
    stages,
    wall_time,
    watchdog,
)
from videobert_jax.training.attended import Attended
from videobert_jax.training.run_under_way import RunUnderWay, TrainResult, say
from videobert_jax.weights import bert


@dataclasses.dataclass(frozen=True)
class _Start:
    """What a start is given, and what looks on."""

    run: RunConfig
    accepted: changed_settings.Accepted
    workdir: storage.Path
    evaluators: Sequence[evaluation.Evaluator]
    load_bundle: Callable[..., ModelBundle]
    attended: Attended


def train(
    run: RunConfig,
    config: dict[str, Any],
    workdir: storage.Path | str,
    *,
    evaluators: Sequence[evaluation.Evaluator],
    stop: Callable[[int], bool] | None = None,
    load_bundle: Callable[..., ModelBundle] = checkpoint_bundle.load,
    signal: preemption.StopSignal | None = None,
    allow_change: Sequence[str] = (),
    began: float | None = None,
) -> TrainResult:
    """Trains to training.num_steps, or until SIGTERM; continues what the workdir holds.

    config: the settings as JSON, which the workdir keeps and compares. stop: asked before every
    step whether to save and stop there. load_bundle: reads init.checkpoint, with
    `extra_heads=True`. signal: where the program has one that goes further back than this call.
    allow_change: settings that must match and may be others than the workdir's
    (`changed_settings`). began: when the process did, in seconds of the epoch; None: now. Raises
    StorageError, RunRecordError, CheckpointError, DataStateError, DatasetError, DamagedDataError,
    RollbackError, DivergenceError where it cannot go back, and others of this package; a workdir
    that belongs to another run is left as it is. Where a signal comes before the first step, or
    the run hangs, the process ends at once (`preemption`, `watchdog`).
    """
    clock = wall_time.WallTime(0.0 if began is None else max(0.0, time.time() - began))
    workdir, timeout = storage.path(workdir), run.training.step_timeout_seconds
    given = None if signal is None else contextlib.nullcontext(signal)
    with (
        given or preemption.StopSignal(peers.open_group()) as stop_signal,
        watchdog.Watchdog(workdir, clock, timeout, peers.open_group()) as watch,
        contextlib.closing(goodput.Goodput(clock)) as times,
    ):
        stop_signal.before_leaving(times.close)
        storage.require_access(workdir)
        metric_writers.require(run.training.wandb_project)
        lease.require_free(workdir, workdir / goodput.GOODPUT_FILE)
        left = rollback.left_out(rollback.read(workdir))
        known = checkpoint_folder.manifest_steps(workdir)
        processes.require_same_start({**config, "allow_change": [*allow_change]}, known[-1:])
        accepted = changed_settings.accept(workdir, config, allow_change)
        last = run.training.num_steps
        changed_settings.require_steps(workdir, known, last)
        whole = known[-1:] == [last] and evaluation.is_complete(workdir, run.training, evaluators)
        if whole and not checkpoint_verification.problems_of_step(workdir, last):
            say(f"{workdir}: this run is finished, all {last} steps are taken; nothing to do")
            return TrainResult(last, True, workdir)
        for line in accepted.said():
            say(line)
        attended = Attended(times, stop_signal, watch)
        start = _Start(run, accepted, workdir, evaluators, load_bundle, attended)
        result = _take_all(start, left, stop, begins=not known)
        say(f"the whole run: {times}")
        return result


def _take_all(
    start: _Start, left: Sequence[LeftOut], stop: Callable[[int], bool] | None, *, begins: bool
) -> TrainResult:
    """All steps, opened anew after each time that the run goes back."""
    held: lease.Lease | None = None
    while True:
        with start.attended.clock.spent_on(wall_time.START):
            training = _opened(start, left, held, begins=begins)
        try:
            result = training.take_steps(stop)
        except rollback.DivergenceError as error:
            training.leave()
            start.attended.signal.release()  # the newest checkpoint is the state that goes on
            leaves_out, most = training.leaves_out(error), start.run.training.max_rollbacks
            made = rollback.roll_back(start.workdir, error, leaves_out, most)
            say(f"{error} {made}")
            left, held, begins = (*left, *made.left_out), training.lease, False
        except BaseException:
            training.checkpointer.abandon()
            raise
        else:
            training.checkpointer.close()
            return result


def _opened(
    start: _Start, left: Sequence[LeftOut], held: lease.Lease | None, *, begins: bool
) -> RunUnderWay:
    """The run with its inputs, and with its state on the devices."""
    run, workdir = start.run, start.workdir
    init, published = run.init, None  # a run that goes on needs what it began with no more
    if begins:
        initialization.require_vectors(init, run.model)
    if init.bert and begins:
        published = bert.load(init.bert, run.model, init.bert_video_layers)
    mesh = stages.create_mesh(run)
    initial = (
        start.load_bundle(init.checkpoint, extra_heads=True) if init.checkpoint and begins else None
    )
    if initial is not None and published is not None:
        initialization.require_apart(init, run.model, sorted(initial.variables["params"]))
    storage.make_folder(workdir)
    opened = inputs.open_inputs(run, workdir, initial, published, begins=begins, left=left)
    if published is not None:
        inputs.require_bert(opened, published)
    training = RunUnderWay(
        run, start.accepted, workdir, mesh, opened, start.evaluators, start.attended, left, held
    )
    try:
        training.begin(initial, published)
    except BaseException:
        training.checkpointer.abandon()
        raise
    return training
