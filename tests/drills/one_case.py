"""A drill as a user starts it, of a single case; for the tests of drills."""

import json
import pathlib
import subprocess
import sys
from typing import Any

from tests.integration import runs


def take(
    name: str, folder: pathlib.Path, *flags: str
) -> tuple[subprocess.CompletedProcess, dict[str, Any]]:
    """How `python -m tests.drills.NAME` ended, and what its case came to; its results are in
    `folder`."""
    results = folder / "results.jsonl"
    command = [sys.executable, "-m", f"tests.drills.{name}", f"--results={results}", *flags]
    ended = subprocess.run(command, cwd=runs.ROOT, capture_output=True, text=True)
    assert results.exists(), ended.stdout[-2000:] + ended.stderr[-2000:]
    (case,) = map(json.loads, results.read_text().splitlines())
    return ended, case
