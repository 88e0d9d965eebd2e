"""By which results a drill goes on."""

import pathlib
import subprocess
from typing import Any

import pytest

from tests.drills import campaign

COMMITTER = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]


@pytest.fixture
def checkout(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A repository of its own with a file at every path that drills run."""
    for path in campaign._RUN_BY_DRILLS:
        file = tmp_path / path if path.endswith(".py") else tmp_path / path / "code.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("1\n")
    _git(tmp_path, "init")
    _commit(tmp_path)
    monkeypatch.setattr(campaign, "_ROOT", tmp_path)
    return tmp_path


def test_a_drill_goes_on_behind_a_commit_of_documents_alone(checkout: pathlib.Path):
    def results(**about: Any) -> campaign.Results:
        return campaign.Results(checkout / "docs" / "drill.jsonl", {"seed": 0, **about})

    results().note(case=1, passed=True)
    results().note(case=2, passed=False)
    _commit(checkout)  # the results
    assert set(results().passed()) == {1}
    assert not results(seed=1).passed()
    file = checkout / "videobert_jax" / "code.py"
    file.write_text("2\n")
    assert not results().passed()
    _commit(checkout)
    assert not results().passed()
    file.write_text("1\n")
    _commit(checkout)
    assert set(results().passed()) == {1}


def test_what_is_in_no_repository_is_of_unknown_code(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(campaign, "_ROOT", tmp_path)
    assert campaign.code() == "unknown"


def _commit(checkout: pathlib.Path) -> None:
    _git(checkout, "add", ".")
    _git(checkout, "commit", "-m", "what is there")


def _git(checkout: pathlib.Path, *arguments: str) -> None:
    subprocess.run(["git", *COMMITTER, *arguments], cwd=checkout, check=True, capture_output=True)
