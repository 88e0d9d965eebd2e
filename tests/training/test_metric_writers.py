"""What is written can be read by others: JSON line by line, and TensorBoard's own reader."""

import json
import math
import pathlib
import subprocess
import sys
import types

import pytest
from tensorboard.backend.event_processing import event_accumulator

from videobert_jax.files import extras
from videobert_jax.training import metric_writers


def lines(workdir: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_nan_becomes_null(tmp_path: pathlib.Path):
    writer = metric_writers.open_writers(tmp_path, restored_step=0)
    writer.write(1, {"loss": 0.5, "matching": math.nan, "mfu": None, "norm": math.inf})
    writer.close()
    assert lines(tmp_path) == [
        {"step": 1, "loss": 0.5, "matching": None, "mfu": None, "norm": None}
    ]


def test_tensorboard_reads_it_and_forgets_what_a_resumed_run_takes_again(tmp_path: pathlib.Path):
    first = metric_writers.open_writers(tmp_path, restored_step=0)
    for step in (1, 2, 3):
        first.write(step, {"loss": float(step)})
    first.close()
    second = metric_writers.open_writers(tmp_path, restored_step=2)
    second.write(3, {"loss": 30.0, "norm": math.nan})
    second.close()
    reader = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    reader.Reload()
    assert reader.Tags()["scalars"] == ["loss"]
    assert [(e.step, e.value) for e in reader.Scalars("loss")] == [(1, 1.0), (2, 2.0), (3, 30.0)]
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3]
    assert lines(tmp_path)[-1]["loss"] == 30.0


def test_evaluations_of_the_restored_step_are_dropped_where_they_are_made_again(tmp_path):
    first = metric_writers.open_writers(tmp_path, restored_step=0)
    for step in (1, 2):
        first.write(step, {"loss": float(step)})
        first.write(step, {"retrieval/R1": float(step)})
    first.close()
    metric_writers.open_writers(tmp_path, restored_step=2).close()
    assert [line["step"] for line in lines(tmp_path)] == [1, 1, 2, 2]
    metric_writers.open_writers(tmp_path, restored_step=2, evaluates_again=True).close()
    kept = [{"step": 1, "loss": 1.0}, {"step": 1, "retrieval/R1": 1.0}, {"step": 2, "loss": 2.0}]
    assert lines(tmp_path) == kept


def test_a_line_cut_by_a_kill_is_dropped_but_damage_elsewhere_is_an_error(tmp_path: pathlib.Path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 1.0}\n{"step": 2, "lo')
    metric_writers.open_writers(tmp_path, restored_step=1).close()
    assert lines(tmp_path) == [{"step": 1, "loss": 1.0}]
    path.write_text('{"step": 1, "lo\n{"step": 2, "loss": 1.0}\n')
    with pytest.raises(metric_writers.MetricsError, match="line 1"):
        metric_writers.open_writers(tmp_path, restored_step=1)


def test_writing_imports_no_tensorflow(tmp_path: pathlib.Path):
    program = (
        "import pathlib, sys\n"
        "from videobert_jax.training import metric_writers\n"
        f"writer = metric_writers.open_writers(pathlib.Path({str(tmp_path)!r}), restored_step=0)\n"
        "writer.write(1, {'loss': 1.0})\n"
        "writer.close()\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_without_its_package_a_writer_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    metric_writers.require("")
    with pytest.raises(extras.MissingExtra, match=r'pip install "videobert-jax\[wandb\]"'):
        metric_writers.require("tries")


class FakeWandb(types.ModuleType):
    """The part of wandb that is used; a test of parity has the real one."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.begun: list[dict] = []
        self.logged: list[dict] = []
        self.finished = 0

    def init(self, **arguments: object) -> "FakeWandb":
        self.begun.append(arguments)
        return self

    def define_metric(self, name: str, step_metric: str | None = None) -> None: ...

    def log(self, figures: dict) -> None:
        self.logged.append(figures)

    def finish(self) -> None:
        self.finished += 1


def test_weights_and_biases_has_one_run_a_workdir_and_project(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    wandb = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    for step, project in ((1, "one"), (2, "one"), (3, "two")):
        writer = metric_writers.open_writers(
            tmp_path, restored_step=step - 1, wandb_project=project, config={"name": "tiny"}
        )
        writer.write(step, {"loss": 1.0, "norm": math.nan})
        writer.close()
    first, again, other = wandb.begun
    assert first == again and first["resume"] == "allow" and first["config"] == {"name": "tiny"}
    assert first["id"] != other["id"] and first["dir"] == str(tmp_path)
    assert wandb.logged[1] == {"step": 2, "loss": 1.0} and wandb.finished == 3
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3]  # beside the other writers
