"""Figures come one step late; skipped updates are counted and end a run."""

import json
import math
import pathlib

import jax.numpy as jnp
import pytest

from videobert_jax.data.device_feed import FeedReport
from videobert_jax.training import metrics, reporting
from videobert_jax.training.config import TrainingConfig

FEED = FeedReport(damaged=1, cut_pieces=0, cut_clips=0, cut_targets=0, waited_seconds=0.0)


def reporter(workdir: pathlib.Path, num_steps: int = 100) -> reporting.Reporter:
    settings = TrainingConfig(
        num_steps=num_steps,
        accumulation_steps=1,
        log_every=2,
        save_every=10,
        eval_every=0,
        keep_checkpoints=1,
        profile_first_step=0,
        profile_steps=0,
    )
    progress = metrics.Progress(
        num_steps=num_steps,
        stage=None,
        examples_a_step=1,
        tokens_a_step=1,
        flops_a_step=None,
        peak_flops=None,
    )
    return reporting.Reporter(workdir, settings, progress, restored_step=0)


def figures(skipped: float = 0.0) -> dict:
    return {"loss": jnp.float32(2.0), "matching": jnp.float32(math.nan), "update_skipped": skipped}


def steps_written(workdir: pathlib.Path) -> list[int]:
    return [json.loads(line)["step"] for line in (workdir / "metrics.jsonl").open()]


def test_a_step_is_reported_when_the_next_one_is_dispatched(tmp_path: pathlib.Path):
    report = reporter(tmp_path, num_steps=5)
    for step in (1, 2):
        report.dispatched(step, figures(), FEED)
    assert steps_written(tmp_path) == []
    report.dispatched(3, figures(), FEED)
    assert steps_written(tmp_path) == [2]
    for step in (4, 5):
        report.dispatched(step, figures(), FEED)
    report.flush()
    report.close()
    assert steps_written(tmp_path) == [2, 4, 5]  # log_every 2, and the last step
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["matching"] is None and last["damaged_examples"] == 5


def test_twenty_skipped_updates_in_a_row_end_the_run(tmp_path: pathlib.Path, capsys):
    report = reporter(tmp_path)
    for step in range(1, 20):
        report.dispatched(step, figures(skipped=1.0), FEED)
    report.dispatched(20, figures(skipped=0.0), FEED)  # 19 were: not enough
    for step in range(21, 41):
        report.dispatched(step, figures(skipped=1.0), FEED)
    with pytest.raises(reporting.DivergenceError, match="last 20 steps, to step 40"):
        report.flush()
    assert "step 1: its gradient is not finite" in capsys.readouterr().out
