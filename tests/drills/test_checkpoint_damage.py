"""The drill of damaged checkpoints, a few cases; and that it bites where nothing is verified."""

import pathlib

import pytest

from tests.drills import checkpoint_damage

FILES = 2  # how often each kind of damage is tried


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> checkpoint_damage.Drill:
    return checkpoint_damage.Drill(tmp_path_factory.mktemp("damage"), seed=0)


def cases_of(drill: checkpoint_damage.Drill, file: pathlib.Path) -> list[int]:
    """Numbers of the cases that damage a file, one a kind."""
    begin = drill.files.index(file) * len(checkpoint_damage.KINDS)
    return list(range(begin, begin + len(checkpoint_damage.KINDS)))


def test_every_file_of_a_step_is_damaged_in_every_way(drill: checkpoint_damage.Drill):
    names = {path.name for path in drill.files}
    assert {"2.json", "_CHECKPOINT_METADATA", "_METADATA", "manifest.ocdbt"} <= names
    assert len(drill.files) > 8


def test_damage_is_noticed_or_harmless(drill: checkpoint_damage.Drill):
    values = max(drill.files, key=lambda path: (drill.base / path).stat().st_size)
    manifest = drill.files[-1]
    assert manifest.name == "2.json"
    found = [drill.case(n) for file in (values, manifest) for n in cases_of(drill, file)]
    assert [case for case in found if not case["passed"]] == []
    noticed = [case["damage"].split()[0] for case in found if case["outcome"] == "noticed"]
    assert noticed.count("deleted") == noticed.count("truncated") == FILES


def test_without_verification_other_bits_are_restored(drill: checkpoint_damage.Drill):
    drill.verified = False
    values = [path for path in drill.files if path.parent.name == "d"]
    found = [drill.case(n) for file in values for n in cases_of(drill, file)]
    drill.verified = True
    assert not all(case["passed"] for case in found)
