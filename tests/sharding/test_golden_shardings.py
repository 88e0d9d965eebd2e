"""Layouts of all real configs are what they were; a change is seen line by line."""

import difflib

import pytest

from tests.sharding import golden_shardings as golden

# One of each kind of network; tests/models/test_config.py builds others.
QUICK = ("taco", "videobert_visual_words", "coin_segmentation", "kitchen_qa")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(of, marks=[pytest.mark.long] * (of not in QUICK))
        for of in golden.config_names()
    ],
)
def test_layouts_are_those_on_record(name):
    file = golden.GOLDEN / f"{name}.txt"
    recorded = file.read_text() if file.is_file() else ""
    found = golden.describe(name)
    changed = difflib.unified_diff(recorded.splitlines(), found.splitlines(), "was", "is", n=0)
    assert found == recorded, (
        "\n".join(changed) + "\nmeant so? python -m tests.sharding.golden_shardings"
    )


def test_no_config_on_record_is_gone():
    assert {file.stem for file in golden.GOLDEN.iterdir()} == set(golden.config_names())
