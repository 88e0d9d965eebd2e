"""Comparisons of two results against every swap written out, and what is no comparison."""

import itertools
import json
import re

import numpy as np
import pytest

from videobert_jax.cli import main
from videobert_jax.files import digests
from videobert_jax.tasks import report
from videobert_jax.tasks.metrics import classification, ranking

VIDEOS = 8


def write(path, ranks, *, ids=None, seed_of_words=0, **changes):
    """A result of ranks of some examples, three a video, as a task writes it."""
    ids = list(range(len(ranks))) if ids is None else ids
    lines = [
        {
            "example_id": one,
            "video": f"video {one // 3}",
            "text": f"cut it {one}",
            "verb": {"label": f"verb {one + seed_of_words}", "rank": float(rank)},
            "baselines": {"ridge": {"verb": {"label": str(path)}}},  # no question, an answer
        }
        for one, rank in zip(ids, ranks, strict=True)
    ]
    values = np.array(ranks, float)
    figures = classification.from_ranks(values, "verb") | ranking.summary(values, "verb")
    stated = classification.statistics("verb", "verb", "rank")
    stated |= ranking.statistics("verb", "verb", "rank")
    record = {
        "format": report.FORMAT,
        "task": "zero_shot_classification",
        "protocol": "by cloze",
        "templates": ["now {verb} it"],
        "ties": "fair",
        "averaging": "micro",
        "dataset": {
            "name": "synthetic",
            "digest": "ab",
            "split": "test",
            "ids_digest": digests.sha256_array(np.array(ids, np.int64)),
        },
        "metrics": {**figures, "corpus_score": float(values.sum())},  # no line tells it
        "statistics": {name: of.to_json() for name, of in stated.items()},
        "checkpoint": {"name": str(path), "step": 3, "digest": "cd", "weights": "raw"},
    }
    for name, value in changes.items():
        target, key = (
            (record["dataset"], name[8:]) if name.startswith("dataset_") else (record, name)
        )
        target[key] = value
    report.write(record, lines, path)
    return path


@pytest.fixture
def results(tmp_path):
    random = np.random.default_rng(0)
    first = random.integers(1, 9, 3 * VIDEOS)
    second = np.maximum(first - random.integers(0, 4, len(first)), 1)
    paths = [write(tmp_path / f"{n}.json", r) for n, r in (("a", first), ("b", second))]
    return *paths, first, second


def compare(*words) -> int:
    return main.main(["compare", *map(str, words)])


def test_each_figure_has_its_difference_interval_and_p_value(results, tmp_path, capsys):
    a, b, first, second = results
    assert compare(a, b, "--json", tmp_path / "out.json") == 0
    found = json.loads((tmp_path / "out.json").read_text())
    top1 = found["figures"]["verb_top1"]
    hits = np.stack([first == 1, second == 1]).reshape(2, VIDEOS, 3).sum(axis=2)
    gain = hits[1] - hits[0]
    assert top1["difference"] == pytest.approx(gain.sum() / 24) and top1["difference"] > 0
    signs = np.array(list(itertools.product([1, -1], repeat=VIDEOS)))
    assert top1["p_value"] == np.mean(np.abs(signs @ gain) >= abs(gain.sum()))
    drawn = np.random.default_rng(9).integers(VIDEOS, size=(20_000, VIDEOS))
    ends = np.quantile(gain[drawn].sum(axis=1) / 24, [0.025, 0.975])
    assert top1["interval"] == pytest.approx(ends, abs=0.043)
    of_rank = found["figures"]["verb_median_rank"]
    assert of_rank["difference"] == np.median(second) - np.median(first) < 0
    low, high = of_rank["interval"]
    assert low <= of_rank["difference"] <= high and 0 < of_rank["p_value"] < 1
    corpus = found["figures"]["corpus_score"]
    assert corpus["difference"] == second.sum() - first.sum()
    assert corpus["interval"] is None and corpus["p_value"] is None
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if line.startswith("verb_top1")]
    shown = f"{100 * np.mean(first == 1):.1f} % {100 * np.mean(second == 1):.1f} %"
    assert shown in " ".join(line.split()) and f"{top1['p_value']:.4f}" in line
    assert "24 examples of 8 videos" in printed and "swap whole videos" in printed


def test_a_result_beside_itself_differs_in_nothing(results, tmp_path):
    a, *_ = results
    assert compare(a, a, "--json", tmp_path / "out.json") == 0
    for name, of in json.loads((tmp_path / "out.json").read_text())["figures"].items():
        assert of["difference"] == 0, name
        if name != "corpus_score":
            assert of["interval"] == [0, 0] and of["p_value"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "retrieval"}, "task is 'zero_shot_classification' in .*a.json and 'retrieval'"),
        ({"protocol": "by words"}, "protocol is 'by cloze' in .* and 'by words' in .*c.json"),
        ({"dataset_digest": "ef"}, "dataset.digest is 'ab' in .* and 'ef'"),
        ({"dataset_split": "validation"}, "dataset.split is 'test' in .* and 'validation'"),
        ({"seed_of_words": 1}, "example 0: verb.label is 'verb 0' in .* and 'verb 1' in"),
        ({"statistics": {}}, "verb_top1 is read off .* one version"),
    ],
)
def test_what_is_no_comparison_is_named(results, tmp_path, capsys, changes, message):
    a, _, first, _ = results
    other = write(tmp_path / "c.json", first, **changes)
    assert compare(a, other) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and re.search(message, error), error


def test_how_the_two_answered_is_told_where_it_differs(results, tmp_path, capsys):
    a, _, first, _ = results
    told = {"templates": ["{verb}!"], "answered_by": "by words"}
    other = write(tmp_path / "c.json", first, **told)
    assert compare(a, other, "--json", tmp_path / "out.json") == 0
    note = f"templates: ['now {{verb}} it'] in {a}, ['{{verb}}!'] in {other}"
    assert json.loads((tmp_path / "out.json").read_text())["notes"] == [note]  # a says no more
    assert note in capsys.readouterr().out


def test_other_examples_are_refused_and_their_intersection_compared_by_name(
    results, tmp_path, capsys
):
    a, _, first, second = results
    ids = [*range(6, 24), 40, 41]
    other = write(tmp_path / "c.json", [*second[6:], 1, 1], ids=ids)
    assert compare(a, other) == 2
    error = capsys.readouterr().err
    assert "6 in" in error and "2 in" in error and "[40, 41]" in error
    assert "--intersection compares the 18 that both have" in error
    assert compare(a, other, "--intersection", "--json", tmp_path / "out.json") == 0
    assert "the intersection of the examples: 18 examples of 6 videos" in capsys.readouterr().out
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["examples"] == {"selection": "intersection", "num_compared": 18, "num_videos": 6}
    top5 = found["figures"]["verb_top5"]
    assert top5["first"] == np.mean(first[6:] <= 5) and top5["second"] == np.mean(second[6:] <= 5)
    assert "corpus_score" not in found["figures"]  # of all examples, not of these
    apart = write(tmp_path / "d.json", [1, 2], ids=[90, 91])
    assert compare(a, apart, "--intersection") == 2
    assert "no example in common" in capsys.readouterr().err


def test_files_that_do_not_belong_together_are_named(results, tmp_path, capsys):
    a, b, *_ = results
    lines = report.examples_path(b).read_text()
    report.examples_path(b).write_text(lines.replace('"rank": 1.0', '"rank": 2.0'))
    assert compare(a, b) == 2
    assert "b.json: verb_top1 is" in capsys.readouterr().err
    report.examples_path(b).write_text("".join(lines.splitlines(keepends=True)[1:]))
    assert compare(a, b) == 2
    assert "its examples are not those of" in capsys.readouterr().err
    report.examples_path(b).unlink()
    assert compare(a, b) == 2
    assert "its examples are not beside it" in capsys.readouterr().err
    record = json.loads(b.read_text())
    del record["statistics"]
    report.write(record, [json.loads(line) for line in lines.splitlines()], b)
    assert compare(a, b) == 2
    assert "evaluate again" in capsys.readouterr().err
    assert compare(a, b.with_name("none.json")) == 2
    assert "none.json: no such file" in capsys.readouterr().err
