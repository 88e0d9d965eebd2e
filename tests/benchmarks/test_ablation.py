"""What an objective adds, from the lines of records."""

import json
import re
import sys

import numpy as np
import pytest

from benchmarks import ablation, alternate, kept_scores, kitchen_runs
from videobert_jax import configuration

SLOTS = ("verb", "object")


def write_run(workdir, rank: float) -> None:
    """Records of three tests of four videos: every label, word and clip at `rank`."""
    (workdir / "eval").mkdir(parents=True)
    by = dict.fromkeys(("cloze", "joint_space", "both"), rank)
    of_task = {
        "zero_shot_classification": {slot: {"rank_by": by} for slot in SLOTS},
        "retrieval": {"text_to_video_rank": rank + 4},
        "fill_mask": {slot: {"with_video": {"rank": rank}} for slot in SLOTS},
    }
    for task, fields in of_task.items():
        for split in kitchen_runs.TESTS:
            lines = [{"example_id": i, "video": f"{split} {i}", **fields} for i in range(4)]
            file = kitchen_runs.record_file(workdir, task, split).with_suffix(".examples.jsonl")
            file.write_text("\n".join(map(json.dumps, lines)))


@pytest.fixture
def scores(tmp_path):
    return kept_scores.KeptScores(tmp_path / "scores.jsonl", ablation.figures())


def added(scores, workdir, name: str, rank: float, about=None):
    write_run(workdir, rank)
    return scores.add(name, about or {}, workdir)


@pytest.mark.parametrize(("is_added", "sign"), [(False, 1), (True, -1)])
def test_what_is_left_out_adds_what_the_recipe_has_more(is_added, sign, scores, tmp_path):
    recipe = added(scores, tmp_path / "recipe-0", "recipe", 1)
    changed = added(scores, tmp_path / "changed-0", "changed", 2)
    of = ablation.Ablation("changed", {}, is_added)
    found = ablation.adds(of, scores, [recipe], [changed])
    assert set(found) == set(ablation.figures())
    assert {figure["adds"] for figure in found.values()} == {sign}
    assert all(figure["interval"] == [sign, sign] for figure in found.values())
    with_it = {figure["with"] for figure in found.values()}
    assert with_it == ({0.0} if is_added else {1.0})


def test_kept_scores_are_those_of_the_records(scores, tmp_path):
    for name, rank in (("good", 1), ("bad", 2)):
        added(scores, tmp_path / name, name, rank)
    file = kitchen_runs.record_file(tmp_path / "good", "retrieval", "test")
    file = file.with_suffix(".examples.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[2]["text_to_video_rank"] = 6
    file.write_text("\n".join(map(json.dumps, lines)))
    mixed = scores.add("mixed", {}, tmp_path / "good")
    runs = [scores.find(name, {}) for name in ("good", "mixed")]
    values, videos = scores.means("text to video R5", runs, ["test_unseen_pairs", "test"])
    score = ablation.figures()["text to video R5"][1]
    expected = kitchen_runs.mean_scores(score, "retrieval", "test", [tmp_path / "good"])
    assert mixed == scores.find("mixed", {})
    np.testing.assert_array_equal(values, [1, 1, 1, 1, 1, 1, 0.5, 1])
    np.testing.assert_array_equal(videos[4:], expected[1])
    assert videos[0] == "test_unseen_pairs 0"


def test_a_run_is_found_by_its_settings_alone(scores, tmp_path):
    added(scores, tmp_path / "0", "recipe", 1, {"seed": 0})
    assert scores.find("recipe", {"seed": 1}) is None
    assert scores.find("matching", {"seed": 0}) is None
    assert scores.find("recipe", {"seed": 0})["run"] == "recipe"


def test_runs_of_another_recipe_are_told_by_it(tmp_path):
    text = (kitchen_runs.ROOT / ablation.CONFIG).read_text()
    digests = []
    for number, changed in enumerate((text, text.replace("1e-3", "2e-3"), f"# so\n{text}")):
        (tmp_path / f"{number}.py").write_text(changed)
        digests.append(ablation.recipe_digest(str(tmp_path / f"{number}.py")))
    assert digests[0] == digests[2] == ablation._about(ablation.ABLATIONS[0], 0)["recipe"]
    assert digests[1] != digests[0]


def test_runs_on_other_examples_are_not_compared(scores, tmp_path):
    added(scores, tmp_path / "recipe-0", "recipe", 1)
    write_run(tmp_path / "other", 1)
    for file in (tmp_path / "other" / "eval").glob("*.examples.jsonl"):
        file.write_text(file.read_text().rpartition("\n")[0])
    with pytest.raises(alternate.BenchmarkError, match="other examples than the runs in"):
        scores.add("other", {}, tmp_path / "other")


def test_a_score_between_is_refused(tmp_path):
    write_run(tmp_path / "run", 1)
    halves = {"half": ("retrieval", lambda _: 0.5)}
    with pytest.raises(ValueError, match=r"0 or 1, not \[0.5\]"):
        kept_scores.KeptScores(tmp_path / "scores.jsonl", halves).add("run", {}, tmp_path / "run")


def test_a_table_needs_the_kept_scores_alone(tmp_path, monkeypatch, capsys):
    scores = kept_scores.KeptScores(tmp_path / "scores.jsonl", ablation.figures())
    (of,) = [of for of in ablation.ABLATIONS if of.name == "matching"]
    for each in (ablation.Ablation(ablation.RECIPE, {}), of):
        write_run(tmp_path / each.name, 1)
        about, checkpoint = ablation._about(each, 0), {"step": 1000}
        scores.add(each.name, about, tmp_path / each.name, checkpoint=checkpoint)
    flags = ["--seeds=1", "--only=matching", f"--scores={scores.path}"]
    flags += [f"--json={tmp_path / 'record.json'}", f"--dataset={tmp_path / 'none'}"]
    monkeypatch.setattr(sys, "argv", ["ablation", *flags])
    assert ablation.main() == 0
    assert "+0.0 (+0.0 to +0.0)" in capsys.readouterr().out
    record = json.loads((tmp_path / "record.json").read_text())
    assert set(record["checkpoints"]) == {"recipe-0", "matching-0"}
    assert len(record["commits"]) == 1


@pytest.mark.parametrize("of", ablation.ABLATIONS, ids=lambda of: of.name)
def test_an_ablation_changes_settings_that_there_are(of):
    config = configuration.load_file(str(kitchen_runs.ROOT / ablation.CONFIG))
    recipe = configuration.parse(config)
    made = {of.file: "made.safetensors"} if of.file else {}
    assert set(made) <= set(kitchen_runs.FILES)
    for field, value in {**of.overrides, **made}.items():
        configuration.apply_override(config, field, str(value))
    changed = configuration.parse(config)
    weights = (recipe.objectives.weights(), changed.objectives.weights())
    assert changed != recipe
    if not of.is_added:  # one objective and no other
        assert {name for name in weights[0] if weights[0][name] != weights[1][name]} == {of.name}
        assert weights[0][of.name] > 0 == weights[1][of.name]


@pytest.mark.parametrize(
    ("flag", "message"),
    [("--only=mathcing", "'mathcing'.*none of.*matching"), ("--seeds=0", "seeds=0: expected 1")],
)
def test_flags_that_mean_nothing_are_named(flag, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ablation", flag])
    assert ablation.main() == 2
    assert re.search(message, capsys.readouterr().err)
