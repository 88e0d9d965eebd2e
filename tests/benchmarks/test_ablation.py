"""What an objective adds, from the lines of records."""

import json
import re
import sys

import pytest

from benchmarks import ablation, kitchen_runs
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


@pytest.mark.parametrize(("is_added", "sign"), [(False, 1), (True, -1)])
def test_what_is_left_out_adds_what_the_recipe_has_more(is_added, sign, tmp_path):
    write_run(tmp_path / "recipe-0", 1)
    write_run(tmp_path / "changed-0", 2)
    of = ablation.Ablation("changed", {}, is_added)
    found = ablation.adds(of, [tmp_path / "recipe-0"], [tmp_path / "changed-0"])
    assert set(found) == set(ablation.figures())
    assert {figure["adds"] for figure in found.values()} == {sign}
    assert all(figure["interval"] == [sign, sign] for figure in found.values())
    with_it = {figure["with"] for figure in found.values()}
    assert with_it == ({0.0} if is_added else {1.0})


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
