"""COIN's taxonomy: the real one's counts, and made ones beside a made COIN.json."""

import json
import pathlib

import numpy as np
import pytest

from tests.files import workbooks
from videobert_jax.cli import main
from videobert_jax.data import index
from videobert_jax.data.datasets import coin, coin_taxonomy
from videobert_jax.tasks import labels

REAL = pathlib.Path(__file__).resolve().parents[4] / "shared" / "data" / "coin" / "taxonomy.xlsx"
DOMAINS = [["Domains", "Targets"], ["Nursing", "PerformCPR"], ["Food", "MakeTea"]]
STEPS = [
    ["Target Id", "Target Label", "Action Id", "Action Label"],
    [0, "PerformCPR", 7, "press the chest"],
    [0, "PerformCPR", 8, "breathe  into the mouth"],
    [1, "MakeTea", 9, "boil water"],
]


def taxonomy(folder: pathlib.Path, domains=DOMAINS, steps=STEPS) -> pathlib.Path:
    path = folder / "taxonomy.xlsx"
    sheets = {"domain_target_mapping": domains, "target_action_mapping": steps}
    path.write_bytes(workbooks.xlsx(workbooks.parts(sheets)))
    return path


def annotations(
    folder: pathlib.Path, task="PerformCPR", number="8", label="Breathe into the mouth"
):
    steps = [
        {"id": "7", "label": "press the chest", "segment": [1.0, 4.0]},
        {"id": number, "label": label, "segment": [5.0, 8.0]},
    ]
    video = {"subset": "training", "class": task, "duration": 12.0, "annotation": steps}
    path = folder / "COIN.json"
    path.write_text(json.dumps({"database": {"aaaaaaaaaaa": video}}))
    return path


def test_the_real_taxonomy():
    if not REAL.is_file():
        pytest.skip(f"{REAL} is not there")
    found = coin_taxonomy.read(REAL)
    assert (len(found.domains), len(set(found.domains.values())), len(found.steps)) == (
        180,
        12,
        778,
    )
    assert found.steps["65"] == ("UseAnalyticalBalance", "clean inner wall of container")
    assert found.domains["RemoveCrayonFromWalls"] == "Housework"
    forms = found.surface_forms()
    assert forms["task"]["PerformCPR"] == ["perform cpr"]
    assert forms["step"]["32"] == ["stick with the tape and wrap"]


def test_tasks_and_steps_are_named_by_the_taxonomy(tmp_path):
    (tmp_path / "features").mkdir()
    values = np.random.default_rng(0).normal(size=(12, 16)).astype(np.float32)
    np.save(tmp_path / "features" / "aaaaaaaaaaa.npy", values)
    words = ["prepare", "coin", f"--annotations={annotations(tmp_path)}", "--layout=npy"]
    words += [f"--features={tmp_path / 'features'}", "--stride=1", "--normalised=false"]
    words += [f"--output={tmp_path / 'set'}", f"--taxonomy={taxonomy(tmp_path)}"]
    assert main.main(words) == 0
    dataset = index.open_dataset(tmp_path / "set")
    assert dataset.annotations("train")[0]["domain"] == "Nursing"
    assert labels.forms(dataset, "task") == {"MakeTea": ["make tea"], "PerformCPR": ["perform cpr"]}
    steps = labels.forms(dataset, "step")
    assert steps["7"] == ["press the chest"] and set(steps) == {"7", "8", "9"}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"task": "MakeToast"}, "1 times: aaaaaaaaaaa is of the task 'MakeToast'"),
        ({"task": "MakeTea"}, "2 times: aaaaaaaaaaa has step 7 of MakeTea"),
        ({"number": "70"}, "step 70 of PerformCPR, 'Breathe into the mouth', which is not there"),
        ({"label": "sing"}, "'sing', which is PerformCPR, 'breathe  into the mouth'"),
    ],
)
def test_contradictions_are_named(tmp_path, damage, message):
    file = annotations(tmp_path, **damage)
    assert coin.read(file).ids("train") == {"aaaaaaaaaaa"}
    with pytest.raises(index.DatasetError, match=message):
        coin.read(file, taxonomy(tmp_path))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            {"domains": [["Target", "Domain"], ["a", "b"]]},
            "Target, Domain; expected a sheet domain",
        ),
        ({"domains": [["Domains", "Targets"]]}, "expected a sheet domain_target_mapping"),
        ({"domains": DOMAINS[:2]}, "steps of 'MakeTea', which has no domain"),
        ({"steps": [*STEPS, [1, "MakeTea", 10]]}, "target_action_mapping: row 5 is incomplete"),
    ],
)
def test_other_taxonomies_are_refused(tmp_path, made, message):
    with pytest.raises(index.DatasetError, match=message):
        coin_taxonomy.read(taxonomy(tmp_path, **made))


def test_another_workbook_and_no_file_are_named(tmp_path, capsys):
    path = tmp_path / "book.xlsx"
    path.write_bytes(workbooks.xlsx(workbooks.parts({"other": [["a"]]})))
    with pytest.raises(index.DatasetError, match="the sheets other; expected a sheet"):
        coin_taxonomy.read(path)
    path.write_text("Domains,Targets\n")
    with pytest.raises(index.DatasetError, match="not an .xlsx workbook"):
        coin_taxonomy.read(path)
    words = ["prepare", "coin", f"--annotations={annotations(tmp_path)}", "--layout=npy"]
    words += [f"--output={tmp_path / 'set'}", f"--taxonomy={tmp_path / 'absent.xlsx'}"]
    assert main.main(words) == 2
    assert "absent.xlsx: no such file; give the published one" in capsys.readouterr().err
