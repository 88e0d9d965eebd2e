"""The drill of SIGTERM, a run that is stopped three times; and that it bites."""

import pathlib

import pytest

from tests.drills import one_case
from videobert_jax.files import stopping

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]  # six starts of train.py


def test_a_run_that_is_stopped_saves_and_ends_as_one_never_stopped(tmp_path: pathlib.Path):
    ended, case = one_case.take("preemption", tmp_path, "--cases=1", "--processes=1")
    assert ended.returncode == 0 and case["passed"], ended.stdout + ended.stderr
    assert [stopping.STOPPED] in [stop["codes"] for stop in case["stops"]]


def test_a_run_that_knows_no_sigterm_is_noticed(tmp_path: pathlib.Path):
    flags = ["--cases=1", "--processes=1", "--without-guard"]
    ended, case = one_case.take("preemption", tmp_path, *flags)
    assert ended.returncode == 1 and "other codes" in case["wrong"][0]
