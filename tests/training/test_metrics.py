"""What is written can be read by others: JSON line by line, and TensorBoard's own reader."""

import json
import math
import pathlib
import subprocess
import sys

import pytest
from tensorboard.backend.event_processing import event_accumulator

from videobert_jax.training import metrics


def lines(workdir: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_nan_becomes_null(tmp_path: pathlib.Path):
    writer = metrics.MetricsWriter(tmp_path, restored_step=0)
    writer.write(1, {"loss": 0.5, "matching": math.nan, "mfu": None, "norm": math.inf})
    writer.close()
    assert lines(tmp_path) == [
        {"step": 1, "loss": 0.5, "matching": None, "mfu": None, "norm": None}
    ]


def test_tensorboard_reads_it_and_forgets_what_a_resumed_run_takes_again(tmp_path: pathlib.Path):
    first = metrics.MetricsWriter(tmp_path, restored_step=0)
    for step in (1, 2, 3):
        first.write(step, {"loss": float(step)})
    first.close()
    second = metrics.MetricsWriter(tmp_path, restored_step=2)
    second.write(3, {"loss": 30.0, "norm": math.nan})
    second.close()
    reader = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    reader.Reload()
    assert reader.Tags()["scalars"] == ["loss"]
    assert [(e.step, e.value) for e in reader.Scalars("loss")] == [(1, 1.0), (2, 2.0), (3, 30.0)]
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3]
    assert lines(tmp_path)[-1]["loss"] == 30.0


def test_evaluations_of_the_restored_step_are_dropped_where_they_are_made_again(tmp_path):
    first = metrics.MetricsWriter(tmp_path, restored_step=0)
    for step in (1, 2):
        first.write(step, {"loss": float(step)})
        first.write(step, {"retrieval/R1": float(step)})
    first.close()
    metrics.MetricsWriter(tmp_path, restored_step=2).close()
    assert [line["step"] for line in lines(tmp_path)] == [1, 1, 2, 2]
    metrics.MetricsWriter(tmp_path, restored_step=2, evaluates_again=True).close()
    kept = [{"step": 1, "loss": 1.0}, {"step": 1, "retrieval/R1": 1.0}, {"step": 2, "loss": 2.0}]
    assert lines(tmp_path) == kept


def test_a_line_cut_by_a_kill_is_dropped_but_damage_elsewhere_is_an_error(tmp_path: pathlib.Path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 1.0}\n{"step": 2, "lo')
    metrics.MetricsWriter(tmp_path, restored_step=1).close()
    assert lines(tmp_path) == [{"step": 1, "loss": 1.0}]
    path.write_text('{"step": 1, "lo\n{"step": 2, "loss": 1.0}\n')
    with pytest.raises(metrics.MetricsError, match="line 1"):
        metrics.MetricsWriter(tmp_path, restored_step=1)


def test_writing_imports_no_tensorflow(tmp_path: pathlib.Path):
    program = (
        "import pathlib, sys\n"
        "from videobert_jax.training import metrics\n"
        f"writer = metrics.MetricsWriter(pathlib.Path({str(tmp_path)!r}), restored_step=0)\n"
        "writer.write(1, {'loss': 1.0})\n"
        "writer.close()\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_speeds_count_examples_waits_and_evaluations(monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr(metrics.time, "monotonic", lambda: now[0])
    progress = metrics.Progress(
        num_steps=100,
        stage=1,
        examples_a_step=8,
        tokens_a_step=80,
        flops_a_step=1e12,
        peak_flops=4e12,
    )
    for _ in range(4):
        progress.add_step(0.05)
    now[0] = 112.0
    progress.leave_out(10.0)  # an evaluation; so 4 steps took 2 s
    speeds = progress.speeds()
    assert speeds["examples_per_second"] == pytest.approx(16.0)
    assert speeds["tokens_per_second"] == pytest.approx(160.0)
    assert speeds["data_wait_fraction"] == pytest.approx(0.1)
    assert speeds["mfu"] == pytest.approx(0.5)
    line = progress.line(4, {"loss": 2.0, **speeds})
    assert line == "step 4/100  stages.1  loss 2.0000  16 examples/s  mfu 50.0%  48 s left"


@pytest.mark.parametrize(
    "seconds, text", [(0.0, "0 s"), (59.6, "1 min"), (3725.0, "1 h 2 min"), (2e5, "2 d 7 h")]
)
def test_durations_are_words(seconds: float, text: str):
    assert metrics.duration(seconds) == text
