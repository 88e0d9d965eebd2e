"""Records hold what a figure depends on, and never a figure that is none."""

import dataclasses
import json

import numpy as np
import pytest

from videobert_jax.files import digests
from videobert_jax.tasks import fill_mask, report, retrieval, zero_shot_classification
from videobert_jax.tasks.metrics.statistic import Statistic


@pytest.fixture(scope="module")
def result(context):
    return retrieval.evaluate(context, shortlist=0)


def test_record_has_every_field_and_survives_json(context, result, tmp_path):
    record = report.record(context, result)
    report.write(record, result.examples, tmp_path / "eval" / "retrieval.json")
    read = json.loads((tmp_path / "eval" / "retrieval.json").read_text())
    assert read == json.loads(json.dumps(record))
    data = read["dataset"]
    assert data["name"] == "synthetic" and data["digest"] == context.dataset.digest
    assert data["num_expected"] == data["num_evaluated"] == 30
    assert data["ids_digest"] == digests.sha256_array(context.ids)
    assert read["checkpoint"] == {
        "name": "tiny",
        "step": 7,
        "digest": "0" * 64,
        "weights": "raw",
    }
    assert read["overlap"]["num_videos"] == 0 and read["setting"] == "from_scratch"
    assert read["contract_verified"] is False  # weights_sha256 is unknown
    assert "video_names" not in read["trained_on"] and read["trained_on"]["num_videos"] == 12
    for field in ("protocol", "ties", "averaging", "truncation", "seed", "templates", "baselines"):
        assert field in read
    lines = (tmp_path / "eval" / "retrieval.examples.jsonl").read_text().splitlines()
    assert len(lines) == 30 and json.loads(lines[4])["example_id"] == 4


def test_texts_of_examples_may_hold_other_separators_of_lines(context, result, tmp_path):
    output = tmp_path / "result.json"
    lines = [{**line, "text": "one\u2028text\u0085of three lines"} for line in result.examples]
    report.write(report.record(context, result), lines, output)
    assert report.read_examples(output) == json.loads(json.dumps(lines))


@pytest.mark.parametrize(("name", "drawn"), [("kitchen_captions", 1), ("kitchen_films", 0)])
def test_the_embedded_corpus_alone_is_said_to_be_drawn(context, result, name, drawn):
    named = dataclasses.replace(context, dataset=dataclasses.replace(context.dataset, name=name))
    assert report.record(named, result)["notes"].count(report.KITCHEN_NOTE) == drawn


def test_a_figure_that_is_not_a_number_is_refused(context, result):
    wrong = dataclasses.replace(result, metrics={**result.metrics, "x": float("nan")})
    with pytest.raises(ValueError, match="metrics x is nan"):
        report.record(context, wrong)


def test_lost_examples_are_refused(context, result):
    with pytest.raises(ValueError, match="29 of 30"):
        report.record(context, dataclasses.replace(result, examples=result.examples[1:]))


def test_setting_says_what_training_saw(context, result):
    def setting(**changes) -> str:
        trained_on = {**context.bundle.trained_on, **changes}
        bundle = dataclasses.replace(context.bundle, trained_on=trained_on)
        return report.record(dataclasses.replace(context, bundle=bundle), result)["setting"]

    assert setting() == "from_scratch"
    assert setting(datasets=[]) == "zero_shot"
    assert setting(datasets=[], video_names=["test_0", "other"]) == "in_sample"
    begun_from = {"name": "kitchen", "step": 800, "digest": "ab"}
    assert setting(initialized_from=begun_from) == "fine_tuned"
    assert setting(initialized_from=begun_from, datasets=[]) == "zero_shot"


def test_table_shows_each_figure_beside_its_baselines(context, result):
    text = report.table(report.record(context, result), metrics=["text_to_video_R1"])
    header, line = text.splitlines()
    columns = ["this", "model", "95", "%", "chance", "supervised_ridge", "label_oracle"]
    assert header.split() == columns
    assert line.split()[0] == "text_to_video_R1" and "3.3 %" in line and "0.0 % to 10.0 %" in line


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("text_to_video_R5", "55.1 %"),
        ("text_to_video_median_rank", "0.6"),
        ("CIDEr_D", "0.55"),
        ("CIDEr", "0.55"),
    ],
)
def test_figures_are_shown_as_papers_show_them(name: str, shown: str):
    assert report.figure(name, 0.551) == shown
    assert report.figure(name, None) == "-"


def test_every_figure_of_every_task_is_told_by_the_lines_and_has_an_interval(context, result):
    for found in (result, zero_shot_classification.evaluate(context), fill_mask.evaluate(context)):
        record = report.record(context, found)
        lines = [json.loads(json.dumps(line)) for line in found.examples]
        assert set(record["intervals"]) == set(record["statistics"]) == set(record["metrics"])
        for name, (low, high) in record["intervals"].items():
            values, _ = Statistic.from_json(record["statistics"][name]).read(lines)
            assert values.mean() == pytest.approx(record["metrics"][name]) or "median" in name
            assert low <= record["metrics"][name] <= high


def test_an_interval_is_of_videos_drawn_whole_by_the_seed_of_the_record(context, result):
    hits = np.array([line["text_to_video_rank"] <= 5 for line in result.examples])
    of_videos = hits.reshape(6, 5).sum(axis=1)  # six videos of five examples each
    drawn = np.random.default_rng(5).integers(6, size=(20_000, 6))
    low, high = np.quantile(of_videos[drawn].sum(axis=1) / 30, [0.025, 0.975])
    of_seeds = [
        report.record(dataclasses.replace(context, seed=seed), result)["intervals"]
        for seed in (0, 0, 1)
    ]
    assert of_seeds[0] == of_seeds[1] != of_seeds[2]
    assert of_seeds[0]["text_to_video_R5"] == pytest.approx([low, high], abs=0.034)


def test_figures_that_the_lines_do_not_give_are_refused(context, result):
    line = {**result.examples[3], "text_to_video_rank": 1.0}
    assert result.examples[3]["text_to_video_rank"] > 1
    lines = [*result.examples[:3], line, *result.examples[4:]]
    with pytest.raises(ValueError, match="text_to_video_R1 is .* its examples give"):
        report.record(context, dataclasses.replace(result, examples=lines))
