"""The drill of failed saves, a few cases on the disk; and that it bites."""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize(
    "switch, code", [([], 0), pytest.param(["--without-removal"], 1, marks=pytest.mark.long)]
)
def test_a_disk_that_fails(tmp_path: pathlib.Path, switch: list[str], code: int):
    results = tmp_path / "results.jsonl"
    command = [sys.executable, "-m", "tests.drills.failed_saves", "--places=disk", "--cases=3"]
    ended = subprocess.run(
        [*command, f"--results={results}", *switch], cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == code, ended.stdout[-2000:] + ended.stderr[-2000:]
    found = [json.loads(line) for line in results.read_text().splitlines()]
    assert {case["fault"] for case in found} == {"full", "read-only", "input/output"}
    assert all(case["failed_calls"] for case in found)
