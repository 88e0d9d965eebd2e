"""`eval.py --follow`: each checkpoint once, as it appears, until the run's last step."""

import argparse
import dataclasses
import json
import pathlib
from collections.abc import Callable

import pytest

from videobert_jax import loading
from videobert_jax.cli import evaluate, follow
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.training import hardware
from videobert_jax.training.checkpoint_errors import CheckpointError

FLAGS = ("--task=retrieval", "--shortlist=0", "--limit=10")


class Run:
    """A workdir that changes each time that the follower sleeps."""

    def __init__(self, workdir: pathlib.Path, bundle) -> None:
        self.workdir, self._bundle = workdir, bundle
        self.loaded: list[int] = []
        self.damaged: set[int] = set()
        self.changes: list[Callable[[], None]] = []
        self.on_load: Callable[[int], None] = lambda step: None

    def begin(self) -> None:
        (self.workdir / "manifests").mkdir(parents=True)
        settings = {"training": {"num_steps": 30}}
        (self.workdir / "config.json").write_text(json.dumps(settings))

    def save(self, *steps: int) -> None:
        for step in steps:
            (self.workdir / "manifests" / f"{step}.json").touch()

    def delete(self, step: int) -> None:
        (self.workdir / "manifests" / f"{step}.json").unlink()

    def load(self, name: str, weights: str | None):
        step = int(name.removeprefix(f"{self.workdir}@"))
        self.on_load(step)
        if step in self.damaged or not (self.workdir / "manifests" / f"{step}.json").exists():
            raise CheckpointError(f"{name}: no checkpoint verifies")
        self.loaded.append(step)
        return dataclasses.replace(self._bundle, step=step)

    def sleep(self, seconds: float) -> None:
        assert seconds == 0.5
        self.changes.pop(0)()

    def record(self, step: int) -> dict:
        return json.loads((self.workdir / "eval" / str(step) / "retrieval.json").read_text())


@pytest.fixture
def run(tmp_path: pathlib.Path, bundle, monkeypatch: pytest.MonkeyPatch) -> Run:
    made = Run(tmp_path / "run", bundle)
    monkeypatch.setattr(loading, "load_bundle", made.load)
    monkeypatch.setattr(follow.time, "sleep", made.sleep)
    monkeypatch.setattr(hardware, "start", lambda *_: "devices: those of the tests")
    return made


def start(run: Run, *flags: str) -> int:
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    flags = (f"--workdir={run.workdir}", "--follow=0.5", *FLAGS, *flags)
    return evaluate.run(parser.parse_args(flags))


def test_checkpoints_are_evaluated_as_they_appear_and_the_last_one_ends_it(run: Run, capsys):
    def delete_one(step: int) -> None:
        if step == 15 and run.loaded[-1:] != [15]:
            run.delete(15)  # by retention, between the look and the read

    run.on_load = delete_one
    run.damaged = {20}
    run.changes = [
        run.begin,
        lambda: run.save(10, 5),
        lambda: run.save(15, 20),
        lambda: run.save(25, 30),
    ]
    assert start(run) == 0
    assert run.loaded == [5, 10, 25, 30]
    assert [run.record(step)["checkpoint"]["step"] for step in run.loaded] == run.loaded
    printed = capsys.readouterr()
    assert printed.out.count("waiting for a run") == 1
    assert "step 15: deleted before it was read; skipped" in printed.err
    assert "step 20: skipped: " in printed.err and "no checkpoint verifies" in printed.err
    assert "step 30, the last one, is evaluated" in printed.out


def test_a_follower_that_is_started_again_evaluates_nothing_twice(run: Run, monkeypatch):
    run.begin()
    run.save(10, 30)
    measured: list[int] = []

    def measure(bundle, arguments, name, output) -> None:
        if bundle.step == 30 and measured == [10]:
            raise KeyboardInterrupt  # killed before its records were there
        measured.append(bundle.step)
        output.mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(evaluate, "measure", measure)
    with pytest.raises(KeyboardInterrupt):
        start(run)
    measured.append(0)
    assert start(run) == 0
    assert measured == [10, 0, 30]
    assert start(run) == 0 and measured == [10, 0, 30]
    assert start(run, f"--report={run.workdir / 'page'}") == 0 and measured == [10, 0, 30]
    assert start(run, "--limit=9") == 0  # other figures
    assert measured == [10, 0, 30, 10, 30]


def test_a_last_step_that_is_damaged_is_an_error(run: Run):
    run.begin()
    run.save(30)
    run.damaged = {30}
    with pytest.raises(CheckpointError, match="no checkpoint verifies"):
        start(run)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--workdir=x", "--follow=0"], "seconds above 0"),
        (["--checkpoint=x", "--follow"], "say --workdir=DIR"),
        (["--workdir=x", "--follow", "--output=x.json"], "name a folder"),
    ],
)
def test_flags_that_say_something_else_are_named(run: Run, flags: list[str], message: str):
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    with pytest.raises(EvaluationError, match=message):
        evaluate.run(parser.parse_args(flags))
