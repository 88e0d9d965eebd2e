"""The drill of kills, two of them."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.long
@pytest.mark.timeout(1800)  # five starts of train.py
def test_a_run_killed_twice_ends_as_one_never_killed(tmp_path: pathlib.Path):
    results = tmp_path / "results.jsonl"
    command = [sys.executable, "-m", "tests.drills.kill_and_resume", "--kills=2", "--processes=1"]
    command += ["--points=manifest-whole", f"--results={results}"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    (case,) = map(json.loads, results.read_text().splitlines())
    assert case["passed"] and case["history"][0]["killed"]
