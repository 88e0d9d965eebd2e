"""What records of benchmarks say of the code, and which part of a campaign is asked for."""

import argparse

import pytest

from benchmarks import alternate
from tests import repository


def test_a_commit_is_modified_by_code_and_not_by_documents(tmp_path, monkeypatch):
    monkeypatch.setattr(alternate, "_ROOT", tmp_path)
    assert alternate.commit() == "unknown"
    repository.create(tmp_path, ["code.py", "docs/results.jsonl"])
    clean = alternate.commit()
    assert len(clean) == 40
    (tmp_path / "docs" / "results.jsonl").write_text("2\n")
    assert alternate.commit() == clean
    (tmp_path / "code.py").write_text("2\n")
    assert alternate.commit() == f"{clean}-modified"
    repository.commit(tmp_path)
    assert alternate.commit() not in (clean, f"{clean}-modified")
    assert len(alternate.commit()) == 40


def parsed(shard: str) -> slice:
    parser = argparse.ArgumentParser()
    alternate.add_shard(parser, "runs")
    return parser.parse_args([f"--shard={shard}"] if shard else []).shard


def test_shards_are_all_and_each_once():
    assert list(range(7)[parsed("")]) == list(range(7))
    parts = [list(range(7)[parsed(f"{number}/3")]) for number in range(3)]
    assert parts == [[0, 3, 6], [1, 4], [2, 5]]


@pytest.mark.parametrize("shard", ["3/3", "1", "-1/2", "a/b", "1/0"])
def test_a_shard_that_is_none_is_an_error(shard, capsys):
    with pytest.raises(SystemExit):
        parsed(shard)
    assert f"{shard!r}: expected I/N" in capsys.readouterr().err
