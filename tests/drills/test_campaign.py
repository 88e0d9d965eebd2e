"""By which results a drill goes on."""

import pathlib
from typing import Any

import pytest

from benchmarks import alternate
from tests import repository
from tests.drills import campaign


@pytest.fixture
def checkout(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A repository with a file at every path that drills run."""
    paths = campaign._RUN_BY_DRILLS
    files = [path if path.endswith(".py") else f"{path}/code.py" for path in paths]
    monkeypatch.setattr(alternate, "_ROOT", tmp_path)
    return repository.create(tmp_path, files)


def test_a_drill_goes_on_behind_a_commit_of_documents_alone(checkout: pathlib.Path):
    def results(**about: Any) -> campaign.Results:
        return campaign.Results(checkout / "docs" / "drill.jsonl", {"seed": 0, **about})

    results().note(case=1, passed=True)
    results().note(case=2, passed=False)
    repository.commit(checkout)  # the results
    assert set(results().passed()) == {1}
    assert not results(seed=1).passed()
    file = checkout / "videobert_jax" / "code.py"
    file.write_text("2\n")
    assert not results().passed()
    repository.commit(checkout)
    assert not results().passed()
    file.write_text("1\n")
    repository.commit(checkout)
    assert set(results().passed()) == {1}


def test_what_is_in_no_repository_is_of_unknown_code(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(alternate, "_ROOT", tmp_path)
    assert campaign.code() == "unknown"
