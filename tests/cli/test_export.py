import pytest

import videobert_jax
from tests import bundles
from videobert_jax.cli import main
from videobert_jax.training import checkpoint


@pytest.fixture
def checkpoints(tiny_run, monkeypatch) -> dict:
    """Bundles by the name that --checkpoint gives."""
    found = {"runs/a": bundles.tiny(tiny_run), "runs/b@3": bundles.tiny(tiny_run, seed=1)}
    monkeypatch.setattr(checkpoint, "load_bundle", lambda name, weights: found[name])
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


def test_a_checkpoint_that_is_not_there_is_an_error(tmp_path, capsys):
    assert main.main(["export", f"--checkpoint={tmp_path}", f"--output={tmp_path}/export"]) == 2
    assert capsys.readouterr().err.startswith("error: ")
