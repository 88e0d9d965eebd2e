"""The drill of processes that hang: one that waits for ever for its data; and that it bites."""

import pathlib

import pytest

from tests.drills import one_case
from videobert_jax.files import stopping

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]  # four starts of two processes
FLAGS = ["--cases=2", "--shard=1/2", "--processes=2"]


def test_a_process_that_is_stuck_is_named_and_the_loop_finishes(tmp_path: pathlib.Path):
    ended, case = one_case.take("hang", tmp_path, *FLAGS)
    assert ended.returncode == 0 and case["passed"], ended.stdout + ended.stderr
    assert case["kind"] == "stuck" and set(case["codes"].values()) == {stopping.HUNG}


def test_a_run_that_nobody_watches_is_noticed(tmp_path: pathlib.Path):
    ended, case = one_case.take("hang", tmp_path, *FLAGS, "--without-guard")
    assert ended.returncode == 1 and "still alive after" in case["wrong"]
