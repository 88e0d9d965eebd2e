import json
import sys

import pytest

import videobert_jax
from tests import bundles
from videobert_jax.cli import main
from videobert_jax.tasks import report
from videobert_jax.training import checkpoint_bundle


@pytest.fixture
def checkpoints(tiny_run, monkeypatch) -> dict:
    """Bundles by the name that --checkpoint gives."""
    found = {"runs/a": bundles.tiny(tiny_run), "runs/b@3": bundles.tiny(tiny_run, seed=1)}
    monkeypatch.setattr(checkpoint_bundle, "load", lambda name, weights: found[name])
    return found


def test_an_export_is_ready_to_load(checkpoints, tmp_path, capsys):
    output = tmp_path / "export"
    assert main.main(["export", "--checkpoint=runs/a", f"--output={output}"]) == 0
    assert f'videobert_jax.load("{output}")' in capsys.readouterr().out
    assert videobert_jax.load(output).bundle.digest == checkpoints["runs/a"].digest
    assert main.main(["export", "--checkpoint=runs/a", f"--output={output}"]) == 0
    assert "already" in capsys.readouterr().out


def test_another_export_is_kept_unless_forced(checkpoints, tmp_path, capsys):
    output = tmp_path / "export"
    main.main(["export", "--checkpoint=runs/a", f"--output={output}"])
    weights = (output / "model.safetensors").read_bytes()
    assert main.main(["export", "--checkpoint=runs/b@3", f"--output={output}"]) == 2
    assert "--force" in capsys.readouterr().err
    assert (output / "model.safetensors").read_bytes() == weights
    assert main.main(["export", "--checkpoint=runs/b@3", f"--output={output}", "--force"]) == 0
    assert (output / "model.safetensors").read_bytes() != weights


def test_the_card_has_the_results_of_this_checkpoint_alone(checkpoints, tmp_path, monkeypatch):
    record = {
        "format": report.FORMAT,
        "task": "fill_mask",
        "dataset": {"name": "tiny", "split": "test", "num_evaluated": 40},
        "setting": "from_scratch",
        "checkpoint": {"digest": checkpoints["runs/a"].digest},
        "metrics": {"verb_accuracy_with_video": 0.625, "loss": 9.75},
        "baselines": {"chance": {"verb_accuracy_with_video": 0.0714}},
    }
    workdir = tmp_path / "run"
    (workdir / "eval").mkdir(parents=True)
    monkeypatch.setitem(checkpoints, str(workdir), checkpoints["runs/a"])
    (workdir / "eval" / "fill_mask.json").write_text(json.dumps(record))
    older = {**record, "task": "retrieval", "checkpoint": {"digest": "9" * 64}}
    (workdir / "eval" / "retrieval.json").write_text(json.dumps(older))
    main.main(["export", f"--checkpoint={workdir}", f"--output={tmp_path}/export"])
    card = (tmp_path / "export" / "README.md").read_text()
    assert "fill_mask on tiny/test (40 examples, from_scratch)" in card
    assert "62.5" in card and "7.1" in card and "retrieval on" not in card and "9.75" not in card


def test_a_card_that_was_edited_is_kept_and_said(checkpoints, tmp_path, capsys):
    output = tmp_path / "export"
    main.main(["export", "--checkpoint=runs/a", f"--output={output}"])
    (output / "README.md").write_text("my words")
    assert main.main(["export", "--checkpoint=runs/a", f"--output={output}"]) == 0
    assert "README.md is kept as it is; --force writes it anew" in capsys.readouterr().out


def test_formats_are_named_and_checked_by_verify(checkpoints, tmp_path, capsys, monkeypatch):
    output = tmp_path / "export"
    asked = ["export", "--checkpoint=runs/a", f"--output={output}"]
    assert main.main([*asked, "--format=gguf"]) == 2
    assert "'gguf' is none of safetensors, stablehlo, onnx" in capsys.readouterr().err
    assert not output.exists()
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main.main([*asked, "--format=onnx"]) == 2
    assert 'pip install "videobert-jax[onnx]"' in capsys.readouterr().err
    assert main.main([*asked, "--format=safetensors"]) == 0
    assert main.main(["verify", str(output)]) == 0
    assert "every file is as the export wrote it" in capsys.readouterr().out
    (output / "tokenizer_config.json").write_text("{}")
    assert main.main(["verify", str(output)]) == 1
    assert "WRONG" in (printed := capsys.readouterr().out) and "tokenizer_config.json" in printed


def test_a_checkpoint_that_is_not_there_is_an_error(tmp_path, capsys):
    assert main.main(["export", f"--checkpoint={tmp_path}", f"--output={tmp_path}/export"]) == 2
    assert capsys.readouterr().err.startswith("error: ")
