"""What the benchmark of stills says of its runs."""

import json

import pytest

from benchmarks import youcook2_keyframes as benchmark
from videobert_jax import configuration

SOURCE = "--source=none"


def write_record(workdir, recall: float, rank: float) -> None:
    figures = dict.fromkeys(benchmark.FIGURES, recall)
    figures["text_to_video_median_rank"] = rank
    ridge = dict.fromkeys(benchmark.FIGURES, 0.2)
    (workdir / "eval").mkdir(parents=True)
    record = {"metrics": figures, "baselines": {benchmark.BASELINE: ridge}}
    (workdir / "eval" / "retrieval.json").write_text(json.dumps(record))


@pytest.mark.parametrize(("recall", "code"), [(0.25, 0), (0.1, 1)])
def test_finished_runs_are_read_and_compared_with_ridge(
    recall, code, tmp_path, monkeypatch, capsys
):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "dataset.json").write_text("{}")
    for seed, change in enumerate((-0.01, 0.01)):
        write_record(tmp_path / "runs" / f"scratch-{seed}", recall + change, 60 + seed)
    file = tmp_path / "record.json"
    flags = [f"--dataset={tmp_path / 'set'}", f"--workdir={tmp_path / 'runs'}", f"--json={file}"]
    monkeypatch.setattr("sys.argv", ["benchmark", SOURCE, "--seeds=2", *flags])
    assert benchmark.main() == code
    record = json.loads(file.read_text())
    assert record["ratio"] == pytest.approx(recall / 0.2)
    found = record["figures"]["scratch"]
    assert found["text_to_video_R10"]["mean"] == pytest.approx(recall)
    assert found["text_to_video_R10"]["worst"] == pytest.approx(recall - 0.01)
    assert found["text_to_video_median_rank"]["worst"] == 61
    assert "scratch" in capsys.readouterr().out


def test_the_settings_over_minilm_are_those_of_a_network():
    config = configuration.load_file(str(benchmark.kitchen_runs.ROOT / benchmark.CONFIG))
    for name, value in {"init.bert": "folder", **benchmark.OF_MINILM}.items():
        configuration.apply_override(config, name, str(value))
    assert configuration.parse(config).model.text.bert.embed_dim == 384
