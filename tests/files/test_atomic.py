import json
import os

import pytest

from videobert_jax.files import atomic


def test_a_write_that_fails_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    atomic.write_json(path, {"name": "crème"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"name": "crème"}

    def full_disk(descriptor):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        atomic.write_json(path, {"name": "new"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"name": "crème"}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_json_without_a_word_for_nan_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        atomic.write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not (tmp_path / "a.json").exists()
