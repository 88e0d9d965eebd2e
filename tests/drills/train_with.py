"""train.py with a fault, or without what it is to be guarded by; for the drills.

    python -m tests.drills.train_with FAULT... -- ARGUMENTS OF train.py

Faults: `no_stop_signal` leaves SIGTERM to the system; `stuck=FILE` lets the main thread wait for
ever for its next batch as soon as FILE is there; `slow=SECONDS` lets it wait so long for each, so
that there are moments in which to do something to a run; `killed=POINT,NUMBER,MARK` kills the
process when it comes to a point of `kill_points` for the NUMBER-th time, and leaves the file MARK;
`uncut` leaves figures of steps that are taken again in metrics.jsonl; `until=STEP` asks it to stop
before that step; `recorded=FILE` writes down what it saves, restores and reads. `spoilt=K,K,...`
makes a clip feature of these blocks infinite, behind the checks of the input; `damaged=K,K,...`
damages all records of these; `left_out=K,COUNT` takes, from block K on, the blocks COUNT behind.
"""

import contextlib
import dataclasses
import functools
import gc
import pathlib
import signal
import sys
import time
from typing import Any
from unittest import mock

import numpy as np
from jax._src import compiler

import train
from tests.drills import kill_points, recorded
from videobert_jax.cli import failures
from videobert_jax.data import device_feed
from videobert_jax.data.block import BlockBuilder
from videobert_jax.data.reader import ClipReader
from videobert_jax.training import loop, metric_writers, preemption

_take, _build = device_feed.DeviceFeed.__next__, BlockBuilder.build
_choose = BlockBuilder.choose


def no_stop_signal(_: str) -> contextlib.ExitStack:
    def enter(stop: Any) -> Any:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        return stop

    patches = contextlib.ExitStack()
    for where, name, replaced in (
        (preemption.StopSignal, "__enter__", enter),
        (preemption.StopSignal, "__exit__", lambda *_: None),
        (preemption.StopSignal, "join", lambda *_: None),
        (failures, "_stopped_by_sigterm", contextlib.nullcontext),
    ):
        patches.enter_context(mock.patch.object(where, name, replaced))
    return patches


def stuck(file: str) -> Any:
    take_slowly = device_feed.DeviceFeed.__next__

    def take(feed: device_feed.DeviceFeed) -> Any:
        while pathlib.Path(file).exists():
            time.sleep(0.1)
        return take_slowly(feed)

    return mock.patch.object(device_feed.DeviceFeed, "__next__", take)


def slow(seconds: str) -> Any:
    def take(feed: device_feed.DeviceFeed) -> Any:
        time.sleep(float(seconds))
        return _take(feed)

    return mock.patch.object(device_feed.DeviceFeed, "__next__", take)


def until(step: str) -> Any:
    stopped = functools.partial(loop.train, stop=lambda now: now >= int(step))
    return mock.patch.object(loop, "train", stopped)


def records(file: str) -> recorded.Recorder:
    return recorded.Recorder(pathlib.Path(file))


def uncut(_: str) -> Any:
    return mock.patch.object(metric_writers, "_truncate", lambda *_: None)


def spoilt(blocks: str) -> Any:
    bad = {int(number) for number in blocks.split(",")}

    def build(builder: BlockBuilder, k: int) -> Any:
        made = _build(builder, k)
        if k not in bad:
            return made
        features = made.batch.video_features.copy()
        features[0, 0, 0] = np.inf
        batch = dataclasses.replace(made.batch, video_features=features)
        return dataclasses.replace(made, batch=batch)

    return mock.patch.object(BlockBuilder, "build", build)


class _Damaged(ClipReader):
    """A reader whose every record is damaged."""

    def read_into(self, out: np.ndarray, *runs: np.ndarray) -> np.ndarray:
        super().read_into(out, *runs)
        return runs[-1] > 0


def damaged(blocks: str) -> Any:
    bad = {int(number) for number in blocks.split(",")}

    def choose(builder: BlockBuilder, k: int) -> Any:
        chosen = _choose(builder, k)
        if k not in bad:
            return chosen
        return dataclasses.replace(chosen, reader=_Damaged(chosen.split, parallel_reads=1))

    return mock.patch.object(BlockBuilder, "choose", choose)


def left_out(blocks: str) -> Any:
    first, count = map(int, blocks.split(","))

    def build(builder: BlockBuilder, k: int) -> Any:
        return _build(builder, k if k < first else k + count)

    return mock.patch.object(BlockBuilder, "build", build)


FAULTS = {
    "slow": slow,
    "no_stop_signal": no_stop_signal,
    "stuck": stuck,
    "killed": kill_points.killed,
    "uncut": uncut,
    "until": until,
    "recorded": records,
    "spoilt": spoilt,
    "damaged": damaged,
    "left_out": left_out,
}


def programs_kept_by_all() -> Any:
    """On CPU each process has programs of its own, but jax lets the first alone keep what it
    compiled: the others would compile everything anew at every start."""
    write, group = compiler._cache_write, compiler.distributed.global_state

    def as_the_first(*program: Any) -> None:
        with mock.patch.object(group, "process_id", 0):
            write(*program)

    return mock.patch.object(compiler, "_cache_write", as_the_first)


def main() -> int:
    gc.set_threshold(50_000, 20, 50)  # as conftest.py, and why
    end = sys.argv.index("--")
    faults, sys.argv[1:] = sys.argv[1:end], sys.argv[end + 1 :]
    with contextlib.ExitStack() as stack:
        stack.enter_context(programs_kept_by_all())
        for fault in faults:
            name, _, value = fault.partition("=")
            stack.enter_context(FAULTS[name](value))
        return train.main()


if __name__ == "__main__":
    failures.leave(main())
