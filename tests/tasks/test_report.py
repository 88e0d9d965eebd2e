"""Records hold what a figure depends on, and never a figure that is none."""

import dataclasses
import json

import pytest

from videobert_jax.files import digests
from videobert_jax.tasks import report, retrieval


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
    assert header.split() == ["this", "model", "chance", "supervised_ridge", "label_oracle"]
    assert line.split()[0] == "text_to_video_R1" and "3.3 %" in line
