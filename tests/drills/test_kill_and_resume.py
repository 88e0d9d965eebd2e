"""The drill of kills, two of them."""

import pathlib

import pytest

from tests.drills import one_case

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]  # five starts of train.py


def test_a_run_killed_twice_ends_as_one_never_killed(tmp_path: pathlib.Path):
    flags = ["--kills=2", "--processes=1", "--points=manifest-whole"]
    ended, case = one_case.take("kill_and_resume", tmp_path, *flags)
    assert ended.returncode == 0 and case["passed"], ended.stdout + ended.stderr
    assert case["history"][0]["killed"]


def test_figures_of_steps_that_are_taken_again_are_noticed(tmp_path: pathlib.Path):
    flags = ["--kills=2", "--processes=1", "--points=half-deleted", "--without-cutting"]
    ended, case = one_case.take("kill_and_resume", tmp_path, *flags)
    assert ended.returncode == 1 and case["wrong"] == ["other figures"]
