"""A run whose saves fail goes on, says so in its figures, and ends badly only where the last one
fails; started again, it goes on from the newest checkpoint that verifies."""

import errno
import pathlib
from typing import Any

import pytest

from tests.integration import runs
from videobert_jax.cli import failures
from videobert_jax.files import storage
from videobert_jax.training import checkpoint_folder, checkpoint_verification, manifest

write = manifest.write


def test_a_run_survives_failed_saves_but_not_that_of_its_last_step(
    tiny_dataset: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    tried: list[int] = []

    def full(path: storage.Path, written: manifest.Manifest) -> None:
        tried.append(written.step)
        if written.step in (3, runs.NUM_STEPS):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, written)

    def command(**settings: Any) -> int:
        return 0 if runs.train(tmp_path, tiny_dataset, **settings).finished else 1

    with monkeypatch.context() as patch:
        patch.setattr(manifest, "write", full)
        assert failures.exit_code(command) == failures.BAD_INPUT
    assert tried == [3, 6, runs.NUM_STEPS, runs.NUM_STEPS]  # the last is tried twice
    said = capsys.readouterr().err
    assert "SAVE FAILED: step 3" in said and "nothing is saved yet" in said
    assert f"error: {tmp_path}: the last save, of step {runs.NUM_STEPS}, failed" in said
    assert "No space left" in said and "The newest checkpoint that verifies: step 6" in said
    assert checkpoint_folder.manifest_steps(tmp_path) == [6]
    assert checkpoint_folder.checkpoint_steps(tmp_path) == [6]
    counted = {line["step"]: line["failed_saves"] for line in runs.figures(tmp_path)}
    assert counted[3] == 0 and counted[7] == 1

    assert command() == 0
    assert "continues at step 6" in capsys.readouterr().out
    assert checkpoint_verification.verify(tmp_path).ok
    assert checkpoint_folder.manifest_steps(tmp_path) == [6, runs.NUM_STEPS]
