"""Intervals and comparisons of the kitchen's benchmark."""

import json
import re
import sys

import numpy as np
import pytest

from benchmarks import alternate, kitchen, kitchen_runs


def test_equal_sides_have_a_ratio_of_one():
    scores = np.tile([1.0, 0.0], 50)
    videos = np.repeat([f"video {i}" for i in range(20)], 5)
    assert kitchen_runs.contrast(scores, scores, videos, as_points=False) == (1.0, 1.0, 1.0)


def test_the_interval_is_the_textbooks_where_videos_have_one_example():
    generator = np.random.default_rng(1)
    ours, peer = generator.normal(0.6, 0.3, 400), generator.normal(0.4, 0.3, 400)
    names = np.array([f"{i:03d}" for i in range(400)])
    value, low, high = kitchen_runs.contrast(ours, peer, names, as_points=True)
    error = 1.96 * (ours - peer).std(ddof=1) / 20
    assert value == pytest.approx((ours - peer).mean())
    assert (low, high) == pytest.approx((value - error, value + error), abs=0.15 * error)


def test_examples_of_one_video_count_as_one_draw():
    generator = np.random.default_rng(2)
    of_video = generator.normal(size=40)
    ours, peer, videos = np.repeat(of_video, 10), np.zeros(400), np.repeat(np.arange(40), 10)
    _, low, high = kitchen_runs.contrast(ours, peer, videos, as_points=True)
    error = 1.96 * of_video.std(ddof=1) / 40**0.5
    assert high - low == pytest.approx(2 * error, rel=0.15)


def test_an_example_of_weight_three_counts_as_three_examples():
    generator = np.random.default_rng(3)
    ours, peer, weights = generator.random(60), generator.random(60), generator.integers(1, 4, 60)
    videos = np.repeat(np.arange(20), 3)
    weighted = kitchen_runs.contrast(ours, peer, videos, as_points=True, weights=weights)
    sides = [np.repeat(values, weights) for values in (ours, peer, videos)]
    repeated = kitchen_runs.contrast(*sides, as_points=True)
    assert weighted == pytest.approx(repeated, rel=1e-9)


def test_scores_are_read_from_the_lines_of_a_record():
    line = {
        "verb": {"label": "stir", "rank": 2.0},
        "baselines": {"supervised_ridge": {"verb_rank": 1.0}},
    }
    found = {of.name: of for of in kitchen.comparisons()}
    verb = found["verb_top1 by supervised_ridge's"]
    assert (verb.ours(line), verb.peer(line)) == (0.0, 1.0)
    motion = next(of for name, of in found.items() if "motion" in name)
    assert motion.ours(line) == 0.0
    assert motion.ours({"verb": {"label": "pour", "rank": 1.0}}) is None


@pytest.mark.parametrize(
    ("flag", "message"),
    [("--recipes=shrot", "'shrot'.*none of.*short"), ("--seeds=0", "seeds=0: expected 1")],
)
def test_flags_that_mean_nothing_are_named(flag, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["kitchen", flag])
    assert kitchen.main() == 2
    assert re.search(message, capsys.readouterr().err)


def test_records_of_two_checkpoints_are_refused(tmp_path):
    (tmp_path / "eval").mkdir()
    for task in kitchen_runs.TASKS:
        for split in (*kitchen_runs.TESTS, kitchen_runs.FROZEN):
            record = {"checkpoint": {"step": 5, "digest": "a"}}
            kitchen_runs.record_file(tmp_path, task, split).write_text(json.dumps(record))
    assert kitchen_runs.measured_checkpoint(tmp_path) == {"step": 5, "digest": "a"}
    other = json.dumps({"checkpoint": {"step": 5, "digest": "b"}})
    kitchen_runs.record_file(tmp_path, "retrieval", "test").write_text(other)
    with pytest.raises(alternate.BenchmarkError, match="different checkpoints"):
        kitchen_runs.measured_checkpoint(tmp_path)


def test_a_seed_whose_labels_were_told_in_another_way_is_evaluated_again(tmp_path, monkeypatch):
    dataset, run = tmp_path / "dataset", tmp_path / "short-0"
    for folder in (dataset, run / "eval"):
        folder.mkdir(parents=True)
    (dataset / "dataset.json").touch()
    started = []
    monkeypatch.setattr(
        kitchen_runs, "run_command", lambda *arguments: started.append(arguments[0])
    )

    def write(scoring: dict) -> None:
        for record in kitchen_runs._records(run):
            task = next(task for task in kitchen_runs.TASKS if record.name.startswith(task))
            record.write_text(json.dumps({"task": task, **scoring}))

    write({"scoring": "both"})
    kitchen.run_seed("short", 0, dataset, tmp_path)
    assert not started
    for scoring in ({"scoring": "cloze"}, {}):
        write(scoring)
        kitchen.run_seed("short", 0, dataset, tmp_path)
        assert started == ["train.py", "eval.py", "eval.py"]
        started.clear()


def test_a_step_that_fails_is_an_error_that_says_how_to_go_on():
    with pytest.raises(alternate.BenchmarkError, match=r"nothing_such.*ended with .*goes on"):
        kitchen_runs.run_command("-m", "nothing_such")


def test_what_was_told_in_another_way_is_measured_again(tmp_path):
    (tmp_path / "eval").mkdir()

    def write(**of_tasks):
        for task, fields in of_tasks.items():
            for split in (*kitchen_runs.TESTS, kitchen_runs.FROZEN):
                record = json.dumps({"task": task, **fields})
                kitchen_runs.record_file(tmp_path, task, split).write_text(record)

    def is_done(scoring, rank_by):
        return [of.is_done(tmp_path) for of in kitchen_runs.learning(scoring, rank_by)]

    assert is_done("both", "towers") == [False, False]
    write(zero_shot_classification={"scoring": "both"}, retrieval={}, fill_mask={})
    assert is_done("both", "towers") == [True, True]  # of before there was another way
    assert is_done("towers", "towers") == [False, False]
    assert is_done("both", "both") == [True, False]
    write(retrieval={"rank_by": "both"})
    assert is_done("both", "both") == [True, True] and is_done("both", "") == [True, False]
    (of_tests,) = kitchen_runs.learning("towers", "both")[1:]
    assert {"--scoring=towers", "--rank-by=both"} < set(of_tests.arguments())
