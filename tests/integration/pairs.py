"""Runs of train.py by two processes on this machine."""

import pathlib
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.integration import runs
from videobert_jax.files import storage

# One objective over the towers is enough where processes matter: less compile time.
ONE_OBJECTIVE = {"objectives__masked_language__weight": 0.0}


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen]]:
    """Processes of the test; those still running at its end are ended."""
    processes: list[subprocess.Popen] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()


def start_both(
    workdir: storage.Path,
    dataset: str | pathlib.Path,
    logs: pathlib.Path,
    started: list,
    *other_flags: str,
    faults: Sequence[str] = (),
    **settings: Any,
) -> list[subprocess.Popen]:
    """other_flags: of the second process alone. faults: as of `runs.start`, of both."""
    both = [
        runs.start(
            workdir,
            [*runs.flags(dataset, **settings), *together, *(other_flags if i else ())],
            devices=2,
            log=logs / f"process_{i}.txt",
            faults=faults,
        )
        for i, together in enumerate(runs.flags_of_processes(2))
    ]
    started += both
    return both


def finish(processes: list[subprocess.Popen], logs: pathlib.Path, code: int = 0) -> str:
    """What the first process printed, once both have ended with this code."""
    codes = [process.wait(timeout=600) for process in processes]
    texts = [(logs / f"process_{i}.txt").read_text() for i in range(2)]
    assert codes == [code, code], "\n".join(texts)[-4000:]
    return texts[0]
