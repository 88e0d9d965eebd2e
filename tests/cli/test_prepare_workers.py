"""`prepare` by many processes and by other engines, as docs/scale.md has it."""

import pytest

from tests.data.datasets.test_field import NAMES, made_features, prepare
from tests.data.test_writer import tree
from videobert_jax.data import index


def test_workers_write_what_one_process_writes(tmp_path, monkeypatch, capfd):
    pytest.importorskip("apache_beam", reason="Beam (extra `beam`) is not installed")
    features = made_features(tmp_path / "f", NAMES, damaged={NAMES[0]})
    assert prepare(tmp_path, features) == 0
    one = (tmp_path / "set").rename(tmp_path / "one")
    assert prepare(tmp_path, features, "--workers=2") == 0
    assert tree(tmp_path / "set") == tree(one)
    (tmp_path / "set").rename(tmp_path / "two")
    assert prepare(tmp_path, features, "--beam=--runner=FnApiRunner") == 0
    assert tree(tmp_path / "set") == tree(one)
    assert "failures.jsonl says why" in capfd.readouterr().err


def test_what_cannot_be_is_said(tmp_path, capsys, monkeypatch):
    features = made_features(tmp_path / "f", NAMES)
    assert prepare(tmp_path, features, "--output=gs://bucket/set") == 2
    assert "only Beam writes to URLs" in capsys.readouterr().err
    assert prepare(tmp_path, features, "--workers=0") == 2
    assert "--workers=0: expected 1 or more" in capsys.readouterr().err
    monkeypatch.setitem(__import__("sys").modules, "apache_beam", None)
    assert prepare(tmp_path, features, "--workers=2") == 2
    assert 'pip install "videobert-jax[beam]"' in capsys.readouterr().err
    with pytest.raises(index.DatasetError):
        index.open_dataset(tmp_path / "set")
