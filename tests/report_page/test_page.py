"""The page against what the records say, read back from its HTML."""

import html.parser
import json
import re

import numpy as np
import pytest

from tests.report_page import results
from videobert_jax.cli import main
from videobert_jax.files import storage
from videobert_jax.report_page import cases, page, plots
from videobert_jax.tasks import report
from videobert_jax.tasks.metrics.statistic import Statistic

RANKS = [1, 4, 2, 9, 1, 1, 3, 7, 12, 1, 5, 2]


class Parsed(html.parser.HTMLParser):
    """Elements, attributes, text by table row; fails on a tag that is not closed in its place."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, *of) for of in attrs]
        if tag not in ("meta", "img", "wbr"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data


def made(folder, *paths) -> Parsed:
    output = page.write([storage.path(str(path)) for path in paths], storage.path(str(folder)))
    return Parsed(output.read_text())


def test_every_figure_stands_in_the_row_of_its_name_beside_interval_and_baselines(tmp_path):
    baselines = {"supervised_ridge": {"text_to_video_R1": 0.5}, "chance": {"text_to_video_R1": 0.1}}
    variants = {"cloze": {"text_to_video_R1": 0.3, "extra_top1": 0.7}}
    path = results.retrieval(tmp_path / "a.json", RANKS, baselines=baselines, variants=variants)
    record = json.loads(path.read_text())
    rows = made(tmp_path, path).rows
    header = ["", "this model", "95 %", "chance", "supervised_ridge", "by cloze"]
    assert header in rows
    for name, value in record["metrics"].items():
        low, high = record["intervals"][name]
        (row,) = [row for row in rows if row[0] == name]
        assert row[1] == report.figure(name, value)
        assert row[2] == f"{report.figure(name, low)} to {report.figure(name, high)}"
    assert ["text_to_video_R1", "33.3 %", "30.0 % to 33.3 %", "10.0 %", "50.0 %", "30.0 %"] in rows
    assert ["extra_top1", "-", "-", "-", "-", "70.0 %"] in rows
    measured = ["retrieval", "kitchen/test", "12 of 12", "net step 3", "net012345678"]
    assert [*measured, "from_scratch", "2", "verified"] in rows


def test_texts_are_escaped_and_nothing_is_asked_for_from_outside(tmp_path):
    evil = '<script src="https://example.com/x.js"></script><b>\'"&amp;'
    texts = [f"{evil} {number}" for number in range(len(RANKS))]
    named = {"name": "<i>net</i>", "baselines": {'"><b onclick="x': {"text_to_video_R1": 0.5}}}
    path = results.retrieval(tmp_path / "a.json", RANKS, texts=texts, **named)
    found = made(tmp_path, path)
    assert f"“{evil} 0”" in found.text and "<i>net</i> step 3" in found.text
    tags = {tag for tag, *_ in found.attributes}
    assert not tags & {"script", "link", "iframe", "b", "i", "object"}
    for tag, key, value in found.attributes:
        assert not key.startswith("on")
        if key in ("src", "href"):
            assert value is not None and value.startswith(("data:image/jpeg;base64,", "#")), tag
    (policy,) = [v for _, k, v in found.attributes if k == "content" and "default-src" in str(v)]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    anchors = {value for _, key, value in found.attributes if key == "id"}
    links = {str(value)[1:] for _, key, value in found.attributes if key == "href"}
    assert links and links <= anchors


def test_best_and_worst_are_by_rank_and_among_equals_by_the_baseline(tmp_path):
    path = results.retrieval(tmp_path / "a.json", RANKS, found=[3] * len(RANKS))
    record, lines = report.read(path), report.read_examples(path)
    best, worst = cases.best_and_worst(record, lines, 3)
    # of the four at rank 1 (0, 4, 5, 9) the baseline has the last one behind the others
    assert [case.line["example_id"] for case in best] == [9, 5, 4]
    assert [case.line["example_id"] for case in worst] == [8, 3, 7]
    assert [row for row in worst[0].rows if row[0] == "clip found first"] == [
        ("clip found first", "of “cut it 3”")
    ]
    assert worst[1].found is None and worst[0].found is not None  # example 3 found itself
    few, others = cases.best_and_worst(record, lines[:3], 6)
    assert len(few) == len(others) == 1  # none is both


def test_curves_are_the_share_of_ranks_up_to_k(tmp_path):
    path = results.retrieval(tmp_path / "a.json", RANKS)
    (plot,) = plots.recall_curves(report.read(path), report.read_examples(path))
    names = re.findall(r"<title>(.*?)</title>", plot.drawing)
    assert names == ["chance", "supervised_ridge", "towers, text_to_video"]  # the first on top
    points = re.findall(r'd="M(.*?)"', plot.drawing)[-1].split(" L")
    heights = [1 - (float(point.split(",")[1]) - 10) / 224 for point in points]
    expected = [sum(rank <= k for rank in RANKS) / len(RANKS) for k in range(1, len(RANKS) + 1)]
    np.testing.assert_allclose(heights, expected, atol=5e-4)


def test_what_is_told_as_what_is_counted_example_by_example(tmp_path):
    pairs = [("cut", "cut"), ("cut", "stir"), ("stir", "cut"), ("cut", "stir"), ("fry", "fry")]
    path = results.classified(tmp_path / "a.json", pairs)
    (plot,) = plots.plots(report.read(path), report.read_examples(path))
    said = set(re.findall(r"<title>(.*?)</title>", plot.drawing))
    assert {
        "cut told as cut: 1 of 3",
        "cut told as stir: 2 of 3",
        "stir told as cut: 1 of 1",
        "fry told as fry: 1 of 1",
        "fry told as stir: 0 of 1",
    } <= said
    assert len(said) == 9 and plot.about.startswith("2 of 5 right")


def test_of_many_labels_the_most_frequent_mistakes_are_listed(tmp_path):
    pairs = [(f"verb {n}", f"verb {n}") for n in range(30)] + [("verb 1", "verb 2")] * 3
    path = results.classified(tmp_path / "a.json", pairs)
    (plot,) = plots.plots(report.read(path), report.read_examples(path))
    rows = Parsed(plot.drawing).rows
    assert rows == [["right", "told", "times"], ["verb 1", "verb 2", "3"]]


def test_a_task_without_plots_of_its_own_is_shown_by_kind(tmp_path):
    answers = [("verb", 1.0), ("verb", 0.0), ("count", 1.0), ("verb", 0.0), ("count", 1.0)]
    lines = [
        {
            "of_kind": {kind: right},
            "right": right,
            "question": f"what? {n}",
            "said": {"answer": "pan"},
        }
        for n, (kind, right) in enumerate(answers)
    ]
    stated = {
        "accuracy": Statistic.mean("right"),
        "accuracy_verb": Statistic.mean("of_kind", "verb"),
    }
    path = results.write(tmp_path / "a.json", "question_answering", lines, stated)
    (plot,) = plots.plots(report.read(path), report.read_examples(path))
    text = Parsed(plot.drawing).text
    assert text == "count (2)accuracy100.0 %verb (3)accuracy33.3 %"
    best, worst = cases.best_and_worst(report.read(path), report.read_examples(path), 2)
    assert [case.line["right"] for case in best + worst] == [1.0, 1.0, 0.0, 0.0]
    assert ("question", "what? 3") in worst[0].rows and ("said answer", "pan") in worst[0].rows


def test_of_many_groups_those_with_most_examples_are_drawn(tmp_path):
    tasks = [f"task {n:02d}" for n in range(40)] + ["task 39", "task 38"]
    lines = [{"task": task, "found": 1.0} for task in tasks]
    stated = {"average_recall": Statistic.mean("found")}
    path = results.write(tmp_path / "a.json", "step_localization", lines, stated)
    (plot,) = plots.plots(report.read(path), report.read_examples(path))
    drawn = re.findall(r"task \d\d \(\d\)", Parsed(plot.drawing).text)
    expected = [f"task {n:02d} (1)" for n in range(22)] + ["task 38 (2)", "task 39 (2)"]
    assert drawn == expected and plot.about.startswith("the 24 with most examples of 40 of them")


def test_captions_are_judged_beside_their_references(tmp_path):
    scores = [0.2, 1.0, 0.6, 0.9]
    lines = [
        {"caption": f"cut {n}", "references": ["cut 1"], "ROUGE_L": score, "CIDEr_D": 10 * score}
        for n, score in enumerate(scores)
    ]
    stated = {"ROUGE_L": Statistic.mean("ROUGE_L"), "CIDEr_D": Statistic.mean("CIDEr_D")}
    path = results.write(tmp_path / "a.json", "captioning", lines, stated)
    record, read = report.read(path), report.read_examples(path)
    best, worst = cases.best_and_worst(record, read, 1)
    assert "✓ “cut 1”" in best[0].rows[0][1] and "✗ “cut 0”" in worst[0].rows[0][1]
    rouge, _ = plots.plots(record, read)
    points = [p.split(",") for p in re.findall(r'd="M(.*?)"', rouge.drawing)[-1].split(" L")]
    shares = [1 - (float(y) - 10) / 224 for _, y in points]
    expected = [1.0] + [sum(s >= score for s in scores) / 4 for score in sorted(scores)]
    np.testing.assert_allclose(shares, expected, atol=5e-4)
    widths = re.findall(r'class="fill" style="width:(.*?)%"', plots.bars(record) or "")
    assert float(widths[2]) == pytest.approx(67.5)  # CIDEr-D of 6.75 out of 10


def test_clips_of_the_kitchen_are_drawn_beside_their_examples(tmp_path):
    pytest.importorskip("PIL")
    path = results.retrieval(tmp_path / "a.json", RANKS[:4], found=[1] * 4, video="kitchen")
    pictures = [value for tag, key, value in made(tmp_path, path).attributes if key == "src"]
    # two best and two worst, and the clip found in the place of all but the first and the second
    assert len(pictures) == 4 + 3
    assert len(set(pictures)) == 2  # three of the examples share a time, and two a video
    films = {**json.loads(path.read_text())["dataset"], "name": "kitchen_films"}
    other = results.retrieval(tmp_path / "b.json", RANKS[:4], video="kitchen", dataset=films)
    both = made(tmp_path, path, other).attributes
    assert [
        value for _, key, value in both if key == "src"
    ] == pictures  # others are not the corpus
    anchors = [value for _, key, value in both if key == "id"]
    assert len(anchors) == len(set(anchors))


def test_two_systems_are_compared_and_what_cannot_be_says_why(tmp_path):
    first = results.retrieval(tmp_path / "a.json", RANKS, name="one")
    second = results.retrieval(tmp_path / "b.json", RANKS[::-1], name="other")
    asked = results.retrieval(tmp_path / "c.json", RANKS, name="third", protocol="another")
    found = made(tmp_path, first, second, asked)
    assert ["", "first", "second", "difference", "95 %", "p"] in found.rows
    (row,) = [row for row in found.rows if row[0] == "text_to_video_R1" and len(row) == 6]
    assert row[1:4] == ["33.3 %", "33.3 %", "+0.0"]
    assert f"{first} and {asked} are not compared: protocol is" in found.text

    compared = tmp_path / "compared.json"
    assert main.main(["compare", str(first), str(second), "--json", str(compared)]) == 0
    alone = made(tmp_path / "alone", compared)
    assert row in alone.rows and "Comparisons" in alone.text


def test_what_is_no_result_is_an_error_that_names_the_file(tmp_path, capsys):
    other = tmp_path / "other.json"
    other.write_text('{"format": "something"}')
    assert main.main(["report", str(other), "--output", str(tmp_path)]) == 2
    assert f"{other}: not a result of eval.py" in capsys.readouterr().err
    other.write_text("not json")
    assert main.main(["report", str(other), "--output", str(tmp_path)]) == 2
    assert "not JSON" in capsys.readouterr().err
    assert main.main(["report", "--output", str(tmp_path)]) == 2
    assert "no results to report" in capsys.readouterr().err
    path = results.retrieval(tmp_path / "a.json", RANKS)
    (tmp_path / "a.examples.jsonl").unlink()
    assert main.main(["report", str(path), "--output", str(tmp_path)]) == 2
    assert "its examples are not beside it" in capsys.readouterr().err
    assert not (tmp_path / page.FILE).exists()
