"""Evaluations during training: the best step stays, and what fails loses nothing."""

import dataclasses
import errno
import json
import os
import pathlib

import pytest

from tests.training.test_checkpoint import DATA_STATE, mesh_of, opened, state_on, structs_of
from videobert_jax.files import atomic
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.training import checkpoint_folder, evaluation
from videobert_jax.training.checkpoint_errors import CheckpointError


class Scripted:
    """A figure a step; None fails."""

    name = "task"

    def __init__(self, *values: float | None):
        self.values = values

    def __call__(self, bundle):
        value = self.values[bundle.step]
        if value is None:
            raise OSError("no such clip")
        return {"figure": value, "other": 0.5}


def bundle_of(step: int) -> ModelBundle:
    """Of which only the step is asked."""
    bundle = object.__new__(ModelBundle)
    object.__setattr__(bundle, "step", step)
    return bundle


class Run:
    """Steps that are saved, where `save_every` divides them, and evaluated, as the loop does."""

    def __init__(self, workdir: pathlib.Path, settings, values, keep: int = 1):
        self.checkpointer = opened(workdir, keep=keep)
        self.state = state_on(mesh_of(4, 2), 0)
        self.checkpointer.restore_latest(lambda step: structs_of(self.state))
        evaluators = [Scripted(*values)]
        self.evaluations = evaluation.Evaluations(workdir, settings, evaluators, self.checkpointer)
        self.saved = -1

    def save(self, step: int) -> None:
        if step != self.saved:
            self.checkpointer.save(step, self.state, {**DATA_STATE, "step": step})
            self.saved = step

    def take(self, *steps: int, save_every: int = 1) -> None:
        for step in steps:
            if step % save_every == 0:
                self.save(step)
            self.evaluations.run(step, bundle_of(step), lambda *shown: None, self.save)

    def close(self) -> None:
        self.checkpointer.close()


@pytest.fixture
def settings(tiny_run):
    return dataclasses.replace(
        tiny_run.training, eval_every=1, eval_tasks=("task",), best_metric="task/figure"
    )


def test_the_best_step_stays_beside_the_newest(tmp_path, settings):
    values = [0.0, 0.2, 0.5, 0.4, 0.5, 0.3, 0.9, 0.6, float("inf")]
    run = Run(tmp_path, settings, values)
    run.take(1, 2, 3, 4, 5)
    run.close()
    assert checkpoint_folder.manifest_steps(tmp_path) == [2, 5]  # the first of equal ones
    best = {"format": 1, "step": 2, "metric": "task/figure", "value": 0.5, "highest": True}
    assert json.loads((tmp_path / "best.json").read_text()) == best
    for change in ({}, {"best_metric": ""}):  # whatever a start looks for
        again = Run(tmp_path, dataclasses.replace(settings, **change), values)
        again.take(*((6,) if change else (5,)), save_every=6)
        again.close()
        assert checkpoint_folder.read_best(tmp_path).step == 2
    assert checkpoint_folder.manifest_steps(tmp_path) == [2, 6]
    again = Run(tmp_path, settings, values)
    again.take(7, 8)
    again.close()
    assert checkpoint_folder.manifest_steps(tmp_path) == [7, 8]
    assert checkpoint_folder.numbered(tmp_path, "best") == 7


def test_a_disk_that_is_full_ends_no_run_and_keeps_the_best_before(
    tmp_path, settings, monkeypatch, capsys
):
    run = Run(tmp_path, settings, [0.0, 0.2, 0.5, 0.4])
    run.take(1)

    def full(path, fields):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "write_json", full)
        run.take(2)
    said = capsys.readouterr().err
    assert "best.json cannot name step 2, the best by task/figure (0.5): OSError" in said
    assert "free some space there" in said
    assert checkpoint_folder.read_best(tmp_path).step == 1
    assert checkpoint_folder.manifest_steps(tmp_path) == [1, 2]
    run.take(3)
    assert checkpoint_folder.read_best(tmp_path).step == 3
    run.close()


def test_the_lowest_may_be_best_and_is_saved_where_no_save_is_due(tmp_path, settings):
    settings = dataclasses.replace(settings, best_is_highest=False)
    run = Run(tmp_path, settings, [0.0, 9.0, 7.0, 8.0, 7.5])
    run.take(1, 2, 3, 4, save_every=4)
    run.close()
    assert checkpoint_folder.manifest_steps(tmp_path) == [2, 4]
    assert checkpoint_folder.read_best(tmp_path) == checkpoint_folder.Best(
        2, "task/figure", 7.0, False
    )


def test_another_metric_begins_anew(tmp_path, settings):
    run = Run(tmp_path, settings, [0.0, 0.9])
    run.take(1)
    run.close()
    other = dataclasses.replace(settings, best_metric="task/other")
    again = Run(tmp_path, other, [0.0, 0.9, 0.1])
    again.take(2)
    again.close()
    found = checkpoint_folder.Best(2, "task/other", 0.5, True)
    assert checkpoint_folder.read_best(tmp_path) == found


def test_a_file_whose_step_is_gone_or_that_is_none_says_so(tmp_path, settings):
    (tmp_path / "best.json").write_text(
        '{"step": 9, "metric": "task/figure", "value": 2.0, "highest": true}'
    )
    run = Run(tmp_path, settings, [0.0, 0.9])
    assert not (tmp_path / "best.json").exists()
    run.take(1)
    run.close()
    assert checkpoint_folder.read_best(tmp_path).step == 1
    (tmp_path / "best.json").write_text("{}")
    with pytest.raises(CheckpointError, match="delete it, and the best step is chosen among"):
        checkpoint_folder.read_best(tmp_path)


@pytest.mark.parametrize(
    ("metric", "values", "error", "message"),
    [
        ("task/figgure", [0.0, 0.1], CheckpointError, "there are task/figure, task/other. Step 1"),
        ("task/figure", [0.0, None], OSError, "no such clip"),
    ],
)
def test_an_evaluation_that_fails_loses_no_step(tmp_path, settings, metric, values, error, message):
    run = Run(tmp_path, dataclasses.replace(settings, best_metric=metric), values)
    with pytest.raises(error, match=message):
        run.take(1, save_every=100)
    assert checkpoint_folder.manifest_steps(tmp_path) == [1]


def test_a_run_without_a_best_step_says_so(tmp_path):
    with pytest.raises(CheckpointError, match="@best: the run has no best step"):
        checkpoint_folder.numbered(tmp_path, "best")


def test_settings_that_cannot_be_are_an_error(settings):
    for change in ({"eval_every": 0}, {"best_metric": "figure"}, {"eval_tasks": ("retrieval",)}):
        with pytest.raises(ValueError, match="is no figure of an evaluation during training"):
            dataclasses.replace(settings, **change)
