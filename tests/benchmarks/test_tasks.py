"""The table of all tasks: what is run for it, and what it reads off records."""

import argparse
import json
import pathlib
import re
import sys

import numpy as np
import pytest

from benchmarks import alternate, kitchen_runs, lxmert_column, lxmert_runs, tasks
from videobert_jax import configuration
from videobert_jax.cli import evaluate

TEST = "test"


def write(workdir: pathlib.Path, of: tasks.Figure, lines: list[dict], **record) -> None:
    """A record of a figure's task on TEST, with chance of 0.25."""
    file = kitchen_runs.record_file(workdir, of.task, TEST)
    file.parent.mkdir(parents=True, exist_ok=True)
    record["baselines"] = {"chance": {of.metric: 0.25}}
    file.write_text(json.dumps(record))
    file.with_suffix(".examples.jsonl").write_text("\n".join(map(json.dumps, lines)))


def figure(task: str, metric: str) -> tasks.Figure:
    return next(of for of in tasks.figures() if (of.task, of.metric) == (task, metric))


def statistic(metric: str, *path: str, at_most: float | None = None, weight: tuple = ()) -> dict:
    of = {"path": path, "kind": "mean", "at_most": at_most, "misses": 0, "weight": weight}
    return {"statistics": {metric: of}}


def test_a_row_is_the_mean_over_seeds_beside_the_same_examples_by_ridge(tmp_path):
    of = figure("zero_shot_classification", "verb_top1")
    ranks, by_ridge = [[1, 2, 1, 3], [1, 1, 1, 2]], [1, 4, 2, 2]
    for seed, of_seed in enumerate(ranks):
        lines = [
            {
                "example_id": i,
                "video": f"video {i}",
                "verb": {"rank": rank},
                "baselines": {"supervised_ridge": {"verb_rank": other}},
            }
            for i, (rank, other) in enumerate(zip(of_seed, by_ridge, strict=True))
        ]
        write(
            tmp_path / str(seed), of, lines, **statistic("verb_top1", "verb", "rank", at_most=1.0)
        )
    found = tasks.compare(of, TEST, {of.stage: [tmp_path / "0", tmp_path / "1"]})
    assert (found["ours"], found["ridge"], found["chance"]) == (5 / 8, 1 / 4, 1 / 4)
    assert found["difference"] == pytest.approx(3 / 8)
    assert found["ratio"] == pytest.approx(2.5)
    assert found["interval"][0] < 3 / 8 < found["interval"][1]
    assert (found["examples"], found["seeds"], found["best_other"]) == (4, 2, "ridge")


def test_seconds_of_long_videos_count_more(tmp_path):
    of = figure("action_segmentation", "frame_accuracy")
    seconds, right, by_ridge = np.array([30, 10, 20]), np.array([24, 1, 12]), np.array([15, 10, 20])
    lines = [
        {
            "example_id": i,
            "video": f"video {i}",
            "seconds": int(seconds[i]),
            "accuracy": right[i] / seconds[i],
            "baselines": {"supervised_ridge": {"accuracy": by_ridge[i] / seconds[i]}},
        }
        for i in range(3)
    ]
    write(tmp_path, of, lines, **statistic("frame_accuracy", "accuracy", weight=("seconds",)))
    found = tasks.compare(of, TEST, {of.stage: [tmp_path]})
    assert found["ours"] == pytest.approx(37 / 60)
    assert found["ridge"] == pytest.approx(45 / 60)
    assert found["difference"] == pytest.approx(-8 / 60)
    # no draw of videos is beyond the best and the worst of them
    assert found["interval"] == pytest.approx([-0.9, 0.3])
    row = tasks.table([found]).splitlines()[1]
    for cell in ("25.0", "75.0", "61.7", "-13.3 (ridge)", "-90.0 to +30.0"):
        assert cell in row


def accuracies(workdir: pathlib.Path, of: tasks.Figure, right: list[int], digest: str) -> None:
    """A record of questions answered, by another seventh of them in ridge regression."""
    lines = [
        {
            "example_id": i,
            "video": f"video {i}",
            "right": one,
            "baselines": {"supervised_ridge": {"right": int(i % 7 == 0)}},
        }
        for i, one in enumerate(right)
    ]
    write(workdir, of, lines, **statistic("accuracy", "right"), dataset={"digest": digest})


def test_lxmert_stands_beside_ours_on_the_same_examples(tmp_path):
    of = figure("question_answering", "accuracy")
    accuracies(tmp_path / "ours", of, [1, 1, 1, 0, 0, 0, 0, 0], "a")
    for seed, right in enumerate(([1, 0, 1, 1, 1, 1, 0, 0], [1, 0, 1, 1, 0, 0, 0, 0])):
        accuracies(tmp_path / f"lxmert-{seed}", of, right, "a")
    runs = {of.stage: [tmp_path / "ours"]}
    lxmert = {of.stage: [tmp_path / "lxmert-0", tmp_path / "lxmert-1"]}
    found = tasks.compare(of, TEST, runs, lxmert)
    assert (found["ours"], found["ridge"], found["lxmert"]) == (3 / 8, 2 / 8, 4 / 8)
    assert (found["best_other"], found["difference"]) == ("lxmert", -1 / 8)
    assert found["ratio"] == pytest.approx(3 / 4) and not found["not_run"]
    header, row = tasks.table([found]).splitlines()
    assert header.split()[4:8] == ["chance", "ridge", "lxmert", "ours"]
    assert row.split()[4:8] == ["25.0", "25.0", "50.0", "37.5"]
    assert "lxmert" not in tasks.table([tasks.compare(of, TEST, runs)])
    accuracies(tmp_path / "lxmert-1", of, [1] * 8, "b")
    with pytest.raises(alternate.BenchmarkError, match=r"lxmert-1.*'b'.*'a'.*remove it"):
        tasks.compare(of, TEST, runs, lxmert)


def test_a_row_that_lxmert_cannot_do_says_why(tmp_path):
    of = figure("captioning", "exact_verb")
    lines = [
        {
            "example_id": i,
            "video": f"video {i}",
            "exact": {"verb": 1},
            "baselines": {"supervised_ridge": {"exact": {"verb": i}}},
        }
        for i in range(2)
    ]
    write(tmp_path, of, lines, **statistic("exact_verb", "exact", "verb"))
    found = tasks.compare(of, TEST, {of.stage: [tmp_path]}, {})
    assert "lxmert" not in found and "no decoder" in found["not_run"]["lxmert"]
    _, row, reason = tasks.table([found]).splitlines()
    assert row.split()[4:9] == ["25.0", "50.0", "not", "run", "100.0"]
    assert reason == f"captioning, captioning: lxmert not run: {found['not_run']['lxmert']}"


def test_lxmert_is_asked_every_figure_or_there_is_a_reason():
    stages = tasks.stages(pathlib.Path("data"))
    reasons = set(lxmert_column.NOT_RUN)
    assert reasons < {(of.stage, of.task) for of in tasks.figures()}
    for of in tasks.figures():
        stage = lxmert_column.STAGES.get(of.stage)
        assert ((of.stage, of.task) in reasons) != (stage is not None and of.task in stage.tasks)
        if stage is not None:
            assert (stage.config, stage.dataset) == (
                stages[of.stage].config,
                stages[of.stage].dataset,
            )


@pytest.mark.parametrize("without", [True, False])
def test_a_column_can_be_left_out(tmp_path, monkeypatch, without):
    given, row = [], {"not_run": {}, "interval": [0, 0], "difference": 0, "ratio": None}
    row |= dict.fromkeys(("task", "figure", "stage", "split", "best_other"), "x")
    row |= dict.fromkeys(("chance", "ridge", "ours"), 0.5)
    own = dict.fromkeys(tasks.stages(tmp_path), tmp_path)
    asked = dict.fromkeys(lxmert_column.STAGES, tmp_path)
    monkeypatch.setattr(kitchen_runs, "prepare", lambda *_: None)
    monkeypatch.setattr(kitchen_runs, "measured_checkpoint", lambda *_: {})
    monkeypatch.setattr(lxmert_runs, "torch", lambda: None)
    monkeypatch.setattr(lxmert_column.Column, "run_seed", lambda *_: None if without else asked)
    monkeypatch.setattr(lxmert_column.Column, "describe", lambda *_: {"described": 1})
    monkeypatch.setattr(alternate, "versions", lambda modules: modules)
    monkeypatch.setattr(tasks, "run_seed", lambda *_: own)
    monkeypatch.setattr(tasks, "compare", lambda *them: given.append(them[3]) or row)
    flags = ["--without=lxmert"] if without else []
    file = tmp_path / "record.json"
    monkeypatch.setattr(sys, "argv", ["tasks", "--seeds=2", f"--json={file}", *flags])
    assert tasks.main() == 0
    expected = None if without else {stage: [tmp_path] * 2 for stage in asked}
    assert given == [expected] * len(given) and given
    record = json.loads(file.read_text())
    assert record["lxmert"] == (None if without else {"described": 1})
    assert ("torch" in record["versions"]) != without


def test_every_figure_is_of_an_evaluation_of_its_stage():
    stages = tasks.stages(pathlib.Path("data"))
    for of in tasks.figures():
        assert of.task in [task for one in stages[of.stage].evaluations for task in one.tasks]
    assert len({(of.stage, of.task, of.metric) for of in tasks.figures()}) == len(tasks.figures())


def test_commands_are_ones_that_train_and_eval_know(tmp_path, monkeypatch):
    started: list[tuple[str, ...]] = []
    monkeypatch.setattr(kitchen_runs, "run_command", lambda *given: started.append(given))
    found = tasks.run_seed(7, tmp_path / "data", tmp_path)
    trained = [given for given in started if given[0] == "train.py"]
    assert [len(given) for given in trained] == [5, 6, 6, 6, 6]
    for script, file, workdir, *overrides in trained:
        assert script == "train.py"
        config = configuration.load_file(str(kitchen_runs.ROOT / file.removeprefix("--config=")))
        for override in overrides:
            key, value = override.removeprefix("--config.").split("=", 1)
            configuration.apply_override(config, key, value)
        parsed = configuration.parse(config)
        assert parsed.seed == 7
        assert pathlib.Path(str(parsed.data.path)).parent == tmp_path / "data"
        begins = "" if workdir.endswith("pretrained-7") else str(found[tasks.PRETRAINED])
        assert parsed.init.checkpoint == begins
    evaluated = [given[1:] for given in started if given[0] == "eval.py"]
    assert len(evaluated) == 6
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    for given in evaluated:
        arguments = parser.parse_args(given)
        assert arguments.split == ",".join(kitchen_runs.TESTS)


def _record(run: pathlib.Path, task: str) -> None:
    """Records of a task on all tests, as far as they are looked at."""
    for split in kitchen_runs.TESTS:
        record = kitchen_runs.record_file(run, task, split)
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps({"task": task, "scoring": "both"}))


def test_what_has_its_records_is_not_run_again(tmp_path, monkeypatch):
    started: list[tuple[str, ...]] = []
    monkeypatch.setattr(kitchen_runs, "run_command", lambda *given: started.append(given))
    for name, stage in tasks.stages(tmp_path).items():
        for evaluation in stage.evaluations:
            for task in evaluation.tasks:
                _record(tmp_path / f"{name}-0", task)
    tasks.run_seed(0, tmp_path, tmp_path)
    assert not started
    for stage, task in (("qa", "question_answering"), ("localization", "step_localization")):
        started.clear()
        kitchen_runs.record_file(tmp_path / f"{stage}-0", task, TEST).unlink()
        tasks.run_seed(0, tmp_path, tmp_path)
        assert [given[0] for given in started] == ["train.py", "eval.py"]
        assert f"--task={task}" in started[1]
        _record(tmp_path / f"{stage}-0", task)


def test_no_seeds_are_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tasks", "--seeds=0"])
    assert tasks.main() == 2
    assert re.search("seeds=0: expected 1", capsys.readouterr().err)
