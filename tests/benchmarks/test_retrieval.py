"""The benchmark of retrieval on small sizes: both sides find the same, and say what they took."""

import json
import re

import pytest

from benchmarks import retrieval


@pytest.mark.long
def test_the_record_has_what_was_measured_and_what_was_scaled(tmp_path):
    sizes = ["--count=300", "--dim=8", "--rows=100", "--rounds=1"]
    assert retrieval.main([*sizes, f"--json={tmp_path / 'out.json'}"]) == 0
    record = json.loads((tmp_path / "out.json").read_text())
    figures = record["figures"]
    assert record["ratio"] == figures["ours"] / figures["peer"] and figures["count"] == 300
    assert 0 < figures["recalls"]["x_R1"] < figures["recalls"]["x_R50"] <= 1
    assert figures["peer_peak_bytes_scaled"] >= figures["peer_peak_bytes_measured"] > 1 << 20
    assert figures["peak_bytes_measured"] > 1 << 20


def test_fewer_queries_than_the_best_that_are_taken_are_refused(capsys):
    assert retrieval.main(["--count=300", "--rows=50"]) == 2
    assert re.search("rows=50: expected 51 to --count=300", capsys.readouterr().err)


def test_sides_that_find_other_things_are_no_comparison(monkeypatch):
    wrong = {**retrieval._FUNCTIONS, "blocks": lambda texts, videos: {"x_R1": 2.0}}
    monkeypatch.setattr(retrieval, "_FUNCTIONS", wrong)
    with pytest.raises(retrieval.alternate.BenchmarkError, match="recalls are not equal"):
        retrieval.measure(200, 4, 100, 1)
