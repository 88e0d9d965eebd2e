"""A repository of a test's own."""

import pathlib
import subprocess
from collections.abc import Sequence

_COMMITTER = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")


def create(folder: pathlib.Path, files: Sequence[str]) -> pathlib.Path:
    """Of these files, committed; the folder."""
    for name in files:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("1\n")
    _git(folder, "init")
    commit(folder)
    return folder


def commit(folder: pathlib.Path) -> None:
    """All that is in it."""
    _git(folder, "add", ".")
    _git(folder, "commit", "-m", "what is there")


def _git(folder: pathlib.Path, *arguments: str) -> None:
    subprocess.run(["git", *_COMMITTER, *arguments], cwd=folder, check=True, capture_output=True)
