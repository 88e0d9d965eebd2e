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


@pytest.mark.skipif(os.name == "nt", reason="Windows syncs no folders")
@pytest.mark.parametrize("write, name", [("write_json", "replace"), ("create_json", "link")])
def test_a_name_is_on_the_disk_when_the_call_returns(tmp_path, monkeypatch, write, name):
    events = []
    sync, named = os.fsync, getattr(os, name)

    def fsync(descriptor):
        events.append(os.path.samestat(os.fstat(descriptor), os.stat(tmp_path)))
        sync(descriptor)

    def renamed(*paths):
        events.append(name)
        named(*paths)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, name, renamed)
    getattr(atomic, write)(tmp_path / "a.json", 1)
    assert events == [False, name, True]  # the content, the name, the folder


def test_json_without_a_word_for_nan_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        atomic.write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not (tmp_path / "a.json").exists()
