"""Programs that drive Chromium (PySide6's WebEngine, of requirements-parity.txt)."""

import importlib.util
import json
import pathlib
import subprocess
import sys
from typing import Any

import pytest

SECONDS = 240  # that a program may take


def run(program: str, *words: object) -> dict[str, Any]:
    """What a program of this folder prints last; skips the test where there is no browser."""
    if importlib.util.find_spec("PySide6") is None:
        pytest.skip("no browser: PySide6_WebEngine is not installed")
    path = pathlib.Path(__file__).with_name(program)
    done = subprocess.run(
        [sys.executable, str(path), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    if "cannot open shared object file" in done.stderr:
        pytest.skip(f"no browser: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0 and done.stdout, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
