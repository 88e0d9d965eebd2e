"""The drill of topologies on a few, in this process; and that it bites."""

import pathlib
from typing import Any

import pytest

from tests.drills import topologies
from tests.integration import runs

NUM_STEPS = 5
OTHER = topologies.Topology(1, 8, 4, 2)
# Configs/tiny.py, for the towers' contrast alone: what takes time is to compile.
TINY: dict[str, Any] = {
    "num_steps": NUM_STEPS,
    "config": runs.ROOT / "configs" / "tiny.py",
    "settings": {
        **runs.SETTINGS,
        "objectives.masked_language.weight": 0.0,
        "training.num_steps": NUM_STEPS,
    },
    "topologies": (topologies.ONE, OTHER),
}


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_run_that_wanders_is_the_run_that_stays(tmp_path: pathlib.Path):
    drill = topologies.Drill(tmp_path, 0, **TINY)
    whole = drill.whole(OTHER)
    assert whole["passed"], whole
    for number in range(4):
        restored = drill.restore(number)
        assert restored["passed"], restored
    ledger = drill.reference["ledger"]
    assert len(ledger) == NUM_STEPS and topologies.epochs_are_whole(ledger)
    ledger[1][0]["ids"][0] = ledger[0][0]["ids"][0]
    assert not topologies.epochs_are_whole(ledger)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_an_ordinary_run_has_other_bits_elsewhere(tmp_path: pathlib.Path):
    drill = topologies.Drill(tmp_path, 0, exact=False, **TINY)
    whole = drill.whole(OTHER)
    assert whole["ledger"] and not whole["passed"]


def test_a_block_that_two_processes_read_is_an_error(tmp_path: pathlib.Path):
    logs = [tmp_path / "0.jsonl", tmp_path / "1.jsonl"]
    for log in logs:
        log.write_text('{"event": "read", "step": 3, "blocks": {"1": {"ids": []}}}\n')
    with pytest.raises(ValueError, match="block 1 of step 3 is read twice"):
        topologies.ledger(logs)
