"""`eval.py` and `videobert summarize`: files where they should be, errors that say the remedy."""

import argparse
import json

import ml_collections
import pytest

from configs import base
from videobert_jax import loading
from videobert_jax.cli import evaluate, result_files, summarize
from videobert_jax.data import index
from videobert_jax.export import safetensors
from videobert_jax.loading import LoadError
from videobert_jax.report_page import page
from videobert_jax.schema import ContractMismatch
from videobert_jax.tasks import action_segmentation, questions, retrieval, step_localization
from videobert_jax.tasks.errors import EvaluationError, UnfitSplit


@pytest.fixture
def workdir(tmp_path, bundle, monkeypatch):
    """A folder that looks like a run's; its network is the small bundle."""
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    monkeypatch.setenv("PATH", str(tmp_path))  # no Java: METEOR would take half a minute
    monkeypatch.setattr(loading, "load_bundle", lambda name, weights: bundle)
    return folder


def run(*flags: str) -> int:
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    return evaluate.run(parser.parse_args([*flags, "--platform=cpu"]))


@pytest.mark.long
def test_a_workdir_alone_is_evaluated_on_its_dataset_and_summarised(workdir, capsys):
    assert run(f"--workdir={workdir}", "--limit=20") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("devices: ")
    assert "multiple_choice" not in printed  # the examples are no questions
    for task in evaluate.TASKS:
        if task in (questions.OPEN_ENDED, questions.MULTIPLE_CHOICE):
            continue
        record = json.loads((workdir / "eval" / f"{task}.json").read_text())
        assert record["task"] == task and record["dataset"]["split"] == "test"
        lines = 4 if task == action_segmentation.NAME else 20  # of four whole videos
        assert record["dataset"]["num_evaluated"] == lines
        assert any("first 20 examples" in note for note in record["notes"])
        assert (workdir / "eval" / f"{task}.examples.jsonl").is_file()
        assert task in printed
    stages = [base.stage(30, {}), base.stage(12, {"optimizer.frozen": "heads"})]
    config = ml_collections.ConfigDict({"stages": stages})
    (workdir / "config.json").write_text(config.to_json())
    text = summarize.summary(workdir)
    lines = text.splitlines()
    assert "stages.0          steps 0 to 30; as the run" in lines
    assert "stages.1          steps 30 to 42; optimizer.frozen=heads" in lines
    assert lines[0].startswith("zero_shot_classification on synthetic/test (20 examples, zero_shot")
    for figure in ("verb_top1", "text_to_video_R5", "object_accuracy_with_video"):
        (line,) = [line for line in lines if line.startswith(figure + " ")]
        assert line.count("%") >= 3  # this model, chance, a baseline
    assert f"checkpoints       {workdir / 'checkpoints'}" in lines
    assert len(lines[lines.index("Next:") + 1 :]) == 3


def test_a_task_that_a_split_is_unfit_for_is_left_out_where_none_is_asked(
    workdir, monkeypatch, capsys
):
    tasks = (step_localization.NAME, action_segmentation.NAME, retrieval.NAME)
    monkeypatch.setattr(evaluate, "TASKS", tasks)
    few = (f"--workdir={workdir}", "--limit=2")  # of the five examples of the first video
    assert run(*few, f"--report={workdir / 'page'}") == 0
    assert [path.name for path in sorted((workdir / "eval").glob("*.json"))] == ["retrieval.json"]
    told = capsys.readouterr().err
    for task in tasks[:2]:
        assert f"{task}: left out, no video of split 'test'" in told
        with pytest.raises(UnfitSplit, match="raise --limit"):
            run(*few, f"--task={task}")


def test_one_task_goes_to_the_named_file(workdir, tmp_path):
    output = tmp_path / "out" / "figures.json"
    flags = (f"--checkpoint={workdir}@7", "--task=retrieval", "--split=train", "--shortlist=0")
    assert run(*flags, f"--output={output}") == 0
    record = json.loads(output.read_text())
    assert record["setting"] == "in_sample" and record["overlap"]["num_videos"] == 12
    assert "supervised_ridge" not in record["baselines"]
    assert not (workdir / "eval").exists()


def test_further_splits_go_to_files_of_their_own_and_are_summarised(workdir, monkeypatch, bundle):
    loads = []
    monkeypatch.setattr(loading, "load_bundle", lambda name, weights: loads.append(name) or bundle)
    flags = ("--task=retrieval", "--split=test,validation", "--shortlist=0", "--limit=10")
    assert run(f"--workdir={workdir}", *flags, f"--report={workdir / 'report'}") == 0
    assert len(loads) == 1
    html = (workdir / "report" / page.FILE).read_text()
    assert html.count("<article>") == 2
    assert "synthetic/test, tiny step 7" in html and "synthetic/validation, tiny step 7" in html
    files = {"retrieval": "test", "retrieval_validation": "validation"}
    assert {path.stem for path in (workdir / "eval").glob("*.json")} == set(files)
    for name, split in files.items():
        record = json.loads((workdir / "eval" / f"{name}.json").read_text())
        assert record["dataset"]["split"] == split
    before = (workdir / "eval" / "retrieval.json").read_text()
    flags = ("--task=retrieval", "--split=validation", "--shortlist=0", "--limit=9")
    assert run(f"--workdir={workdir}", *flags) == 0
    assert (workdir / "eval" / "retrieval.json").read_text() == before  # of the test split
    other = json.loads((workdir / "eval" / "retrieval_validation.json").read_text())
    assert other["dataset"]["num_evaluated"] == 9
    text = summarize.summary(workdir)
    assert text.index("on synthetic/test (") < text.index("on synthetic/validation (")
    assert text.count("text_to_video_same_action_R1 ") == 2


def test_a_further_split_is_named_by_what_follows_test():
    tasks = {name: ["retrieval"] for name in ("test", "test_unseen_pairs", "other")}
    outputs = result_files.outputs(None, "runs/a", tasks, "test")
    assert [path.name for path in outputs.values()] == [
        "retrieval.json",
        "retrieval_unseen_pairs.json",
        "retrieval_other.json",
    ]
    with pytest.raises(EvaluationError, match="both be in files that end in _a.json"):
        result_files.outputs(None, "runs/a", {"test_a": ["x"], "a": ["x"]}, "test")


@pytest.mark.parametrize(
    ("flags", "kind", "message"),
    [
        (["--task=retrieval,cooking"], EvaluationError, "cooking.* none of"),
        (["--task=retrieval,fill_mask", "--output=x.json"], EvaluationError, "name a folder"),
        (
            ["--task=retrieval", "--split=test,validation", "--output=x.json"],
            EvaluationError,
            "2 results .*name a folder",
        ),
        (["--split=test,test"], EvaluationError, "twice"),
        (["--split=tset"], index.DatasetError, "no split 'tset'"),
        (["--limit=0"], EvaluationError, "--limit=0: expected 1 or more"),
        (["--shortlist=-1"], EvaluationError, "--shortlist=-1: expected 0 or more"),
        (["--seed=-1"], EvaluationError, "--seed=-1: expected 0 or more"),
        (["--dataset=nowhere"], index.DatasetError, "videobert prepare"),
        (
            ["--task=zero_shot_classification", "--template=dataset"],
            EvaluationError,
            "declares no templates",
        ),
    ],
)
def test_wrong_flags_are_named(workdir, flags, kind, message):
    with pytest.raises(kind, match=message):
        run(f"--workdir={workdir}", *flags)


def test_a_dataset_of_another_contract_is_refused(workdir, tiny_dataset):
    with pytest.raises(ContractMismatch, match="backbone: dataset .* has 'random', checkpoint"):
        run(f"--workdir={workdir}", f"--dataset={tiny_dataset}")


def test_a_folder_that_is_neither_run_nor_export_is_refused(tmp_path):
    with pytest.raises(LoadError, match="neither in this folder"):
        loading.load_bundle(str(tmp_path))
    with pytest.raises(LoadError, match="no folder"):
        loading.load_bundle(str(tmp_path / "missing@3"))
    with pytest.raises(EvaluationError, match="run `python eval.py"):
        summarize.summary(tmp_path)


def test_an_export_has_no_other_weights_than_its_own(bundle, tmp_path):
    safetensors.save_bundle(bundle, tmp_path / "export")
    assert loading.load_bundle(str(tmp_path / "export"), "raw").weights == "raw"
    with pytest.raises(LoadError, match="weights=ema: .* export of the raw weights"):
        loading.load_bundle(str(tmp_path / "export"), "ema")


def test_a_file_that_is_no_result_is_named(tmp_path):
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "retrieval.json").write_text("{")
    with pytest.raises(EvaluationError, match=r"retrieval\.json: not JSON"):
        summarize.summary(tmp_path)
