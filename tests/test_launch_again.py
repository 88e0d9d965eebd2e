"""A job of Slurm puts itself into the queue again after codes that say so, and only then."""

import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("code", "restarts", "again"),
    [
        (0, 0, False),
        (1, 0, False),
        (2, 0, False),
        (75, 0, True),
        (76, 49, True),
        (137, 1, True),
        (75, 50, False),
    ],
)
def test_a_job_starts_again_where_that_helps(
    code: int, restarts: int, again: bool, tmp_path: pathlib.Path
):
    for name, body in {"srun": f"exit {code}", "scontrol": f'echo "$@" > {tmp_path}/asked'}.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "7",
        "SLURM_RESTART_COUNT": str(restarts),
    }
    script = ROOT / "launch" / "gpus.sbatch"
    assert subprocess.run(["bash", str(script)], env=environment, cwd=ROOT).returncode == code
    asked = tmp_path / "asked"
    assert asked.is_file() == again
    if again:
        assert asked.read_text() == "requeue 7\n"
