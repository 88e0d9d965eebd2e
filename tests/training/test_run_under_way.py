"""How a run under way is left: by an error, whatever goes wrong beside it; by a later start."""

import dataclasses
import errno
import pathlib
import types
from collections.abc import Callable
from typing import Any

import pytest

from videobert_jax.configuration import RunConfig
from videobert_jax.files import storage
from videobert_jax.files.growing import GrowingFile
from videobert_jax.training import lease, rollback, wall_time
from videobert_jax.training.run_under_way import RunUnderWay


def under_way(run: RunConfig, workdir: storage.Path, steps: Callable[[Any], None]) -> Any:
    """A start that takes the workdir: what is left of a run where `steps` are in its steps' place.
    They are given the start."""
    held = lease.take(workdir)
    start = types.SimpleNamespace(
        run=run,
        workdir=workdir,
        config={},
        start=0,
        state=None,
        clock=wall_time.WallTime(),
        checkpointer=types.SimpleNamespace(failed_saves=0),
        _take_stages=lambda ask: steps(start),
        lease=held,
        _require_last=held.require_last,
    )
    return start


def test_what_ends_a_run_survives_figures_that_cannot_be_written(
    tmp_path: pathlib.Path,
    tiny_run: RunConfig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    def full(file: GrowingFile) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def go_bad(start: Any) -> None:
        monkeypatch.setattr(GrowingFile, "sync", full)
        raise rollback.DivergenceError("the numbers are bad", 1, 2)

    with pytest.raises(rollback.DivergenceError, match="the numbers are bad"):
        RunUnderWay.take_steps(under_way(tiny_run, tmp_path, go_bad), None)
    said = capsys.readouterr().err
    assert "metrics.jsonl lacks figures of the last steps: OSError" in said
    assert "No space left on device: free some space" in said


def test_a_start_that_was_followed_does_not_go_back(tmp_path: pathlib.Path, tiny_run: RunConfig):
    """What it would delete, and take anew, is the later start's."""
    first = under_way(tiny_run, tmp_path, lambda start: None)
    lease.take(tmp_path)
    with pytest.raises(lease.LeaseError, match="started again"):
        RunUnderWay.leave(first)


def test_a_trace_under_way_ends_with_the_run_so_that_the_next_one_can_begin(
    tmp_path: pathlib.Path, tiny_run: RunConfig
):
    training = dataclasses.replace(tiny_run.training, profile_first_step=5, profile_steps=3)
    profiled = dataclasses.replace(tiny_run, training=training)

    def go_bad(start: Any) -> None:
        start.profile.before_step(5, None)
        raise rollback.DivergenceError("the numbers are bad", 5, 6)

    for _ in range(2):  # as when a run goes back to a step from before
        with pytest.raises(rollback.DivergenceError, match="the numbers are bad"):
            RunUnderWay.take_steps(under_way(profiled, tmp_path, go_bad), None)
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
