"""Figures come one step late; skipped updates are counted and end a run."""

import json
import math
import pathlib

import jax
import jax.numpy as jnp
import pytest

from tests import transfers
from videobert_jax.data.device_feed import DamageBudget, FeedReport
from videobert_jax.training import metrics, reporting, rollback, wall_time
from videobert_jax.training.config import TrainingConfig


def feed(*damaged: int, budget: DamageBudget | None = None) -> FeedReport:
    """Of a batch with so many damaged examples in its blocks."""
    return FeedReport(
        damaged=jnp.array(damaged or (0,), jnp.int32),
        budget=budget or DamageBudget(1.0, batch_size=8),
        cut_pieces=0,
        cut_clips=0,
        cut_targets=0,
        waited_seconds=0.0,
    )


def reporter(workdir: pathlib.Path, num_steps: int = 100) -> reporting.Reporter:
    settings = TrainingConfig(
        num_steps=num_steps,
        accumulation_steps=1,
        log_every=2,
        save_every=10,
        eval_every=0,
        eval_tasks=(),
        best_metric="",
        best_is_highest=True,
        keep_checkpoints=1,
        max_skipped_updates=20,
        max_rollbacks=5,
        step_timeout_seconds=0.0,
        profile_first_step=0,
        profile_steps=0,
        profile_memory_step=0,
        wandb_project="",
    )
    clock = wall_time.WallTime()
    return reporting.Reporter(workdir, settings, clock, restored_step=0, config={})


def progress() -> metrics.Progress:
    return metrics.Progress(
        num_steps=100,
        stage=None,
        examples_a_step=1,
        peak_flops=None,
        matmul_flops_a_step=1.0,
        matmul_rate=1.0,
    )


def figures(skipped: float = 0.0) -> dict:
    found = {"loss": 2.0, "matching": math.nan, "tokens": 100.0, "model_flops": 1e9}
    found |= {"gradient_norm": math.inf if skipped else 1.0}
    return {name: jnp.float32(value) for name, value in found.items()} | {"update_skipped": skipped}


def steps_written(workdir: pathlib.Path) -> list[int]:
    return [json.loads(line)["step"] for line in (workdir / "metrics.jsonl").open()]


def test_a_step_is_reported_when_the_next_one_is_dispatched(tmp_path: pathlib.Path):
    report = reporter(tmp_path, num_steps=5)
    for step in (1, 2):
        report.dispatched(step, figures(), feed(0, 1), progress())
    assert steps_written(tmp_path) == []
    report.dispatched(3, figures(), feed(1, 2), progress())
    assert steps_written(tmp_path) == [2]
    for step in (4, 5):
        report.dispatched(step, figures(), feed(), progress())
    report.flush()
    report.close()
    assert steps_written(tmp_path) == [2, 4, 5]  # log_every 2, and the last step
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["matching"] is None and last["damaged_examples"] == 5


def test_the_last_step_of_a_stage_is_reported_whatever_its_number(tmp_path: pathlib.Path):
    """Else the next stage's first speeds would be of new steps over old and new time."""
    report = reporter(tmp_path)
    for step in (1, 2, 3):
        report.dispatched(step, figures(), feed(), progress())
    report.end_stage()
    assert steps_written(tmp_path) == [2, 3]
    for step in (4, 5):
        report.dispatched(step, figures(), feed(), progress())
    assert steps_written(tmp_path) == [2, 3, 4]


def test_twenty_skipped_updates_in_a_row_end_the_run(tmp_path: pathlib.Path, capsys):
    report = reporter(tmp_path)
    for step in range(1, 20):
        report.dispatched(step, figures(skipped=1.0), feed(), progress())
    report.dispatched(20, figures(skipped=0.0), feed(), progress())  # 19 were: not enough
    for step in range(21, 41):
        report.dispatched(step, figures(skipped=1.0), feed(), progress())
    with pytest.raises(rollback.DivergenceError, match="last 20 steps, to step 40") as caught:
        report.flush()
    assert (caught.value.first_step, caught.value.step) == (20, 40)
    assert "step 1: loss 2, gradient norm inf: not finite, or far" in capsys.readouterr().out


def test_too_many_damaged_examples_are_said_with_the_figures_of_their_step(tmp_path: pathlib.Path):
    report, budget = reporter(tmp_path), DamageBudget(0.002, batch_size=8)
    for step in (1, 2):
        report.dispatched(step, figures(), feed(1, 1, budget=budget), progress())
        assert report.damage is None  # 2 of 1,000 are allowed
    report.dispatched(3, figures(), feed(1, 1, budget=budget), progress())
    assert str(report.damage).startswith("4 of 16 examples have NaN")
    report.flush()
    assert str(report.damage).startswith("4 of 16 examples have NaN")  # as where it was seen first


def test_figures_come_to_the_host_explicitly_and_a_step_late(tmp_path: pathlib.Path):
    report, found, fed = reporter(tmp_path), [figures() for _ in range(3)], feed()
    with transfers.guarded() as shapes, jax.transfer_guard("disallow"):
        report.dispatched(1, found[0], fed, progress())
        assert shapes == []  # nothing waits for a step that is under way
        report.dispatched(2, found[1], fed, progress())
        assert shapes == [()] * 6
        with pytest.raises(RuntimeError, match="device-to-host"):
            float(found[2]["loss"])
    report.close()
