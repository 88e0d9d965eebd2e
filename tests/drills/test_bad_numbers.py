"""The drill of numbers that go bad, a case of few steps; and that it bites."""

import json
import pathlib
from typing import Any

import pytest

from tests.drills import bad_numbers, campaign

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("on_one_device")]


@pytest.mark.parametrize("guarded", [True, False])
def test_a_run_goes_back_and_ends_as_one_without_the_bad_batches(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, guarded: bool
):
    monkeypatch.setattr(bad_numbers, "BAD_STEPS", 4)
    results = campaign.Results(tmp_path / "results.jsonl", {})
    settings: dict[str, Any] = {
        "training__num_steps": 16,
        "training__save_every": 4,
        "training__max_skipped_updates": 4,
    }
    first = range(6, 7)
    drill = bad_numbers.Drill(tmp_path, results, 0, guarded, first=first, **settings)
    monkeypatch.setattr(bad_numbers, "_LOSS", 1.0)  # of so few steps
    assert drill.case("one_block", "nan") == guarded
    (line,) = map(json.loads, results.path.read_text().splitlines())
    found = {key: line[key] for key in ("rollbacks", "finite", "equal")}
    assert found == {"rollbacks": int(guarded), "finite": guarded, "equal": guarded}
