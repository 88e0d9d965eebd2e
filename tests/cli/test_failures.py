"""SIGTERM ends a command with a code that says "start again", and leaves nothing half-written."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from tests import bundles
from videobert_jax.cli import failures
from videobert_jax.export import formats, safetensors
from videobert_jax.files import stopping


def terminate() -> int:
    os.kill(os.getpid(), signal.SIGTERM)
    raise AssertionError("it went on")


def test_a_command_that_is_terminated_says_so_by_its_code(capsys):
    before = signal.getsignal(signal.SIGTERM)
    assert failures.exit_code(terminate) == stopping.STOPPED
    assert capsys.readouterr().err == "SIGTERM: stopped; the same command does it anew\n"
    assert signal.getsignal(signal.SIGTERM) is before
    assert failures.exit_code(lambda: 0) == 0


@pytest.mark.parametrize(
    "ends",
    [
        "failures.leave(failures.exit_code(lambda: 75))",
        "main.main = lambda: 75; main.program()",
    ],
)
def test_a_program_that_is_done_keeps_its_code_while_python_ends(ends: str):
    program = f"""
import atexit, time
from videobert_jax.cli import failures, main
atexit.register(lambda: (print("leaving", flush=True), time.sleep(0.5)))
{ends}
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"leaving\n"
        process.terminate()
        assert process.wait() == stopping.STOPPED


def test_no_handler_of_faults_takes_it_for_one():
    def tries_again() -> int:
        try:
            return terminate()
        except Exception:
            return 0

    assert failures.exit_code(tries_again) == stopping.STOPPED


def test_an_export_that_is_terminated_leaves_nothing(
    tiny_run, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    output, written = tmp_path / "export", []

    def last_part(_, folder: pathlib.Path, *__) -> int:
        written.extend(path.name for path in folder.iterdir())
        return terminate()

    monkeypatch.setattr(formats, "write", last_part)
    bundle = bundles.tiny(tiny_run)
    assert failures.exit_code(lambda: bool(safetensors.save_bundle(bundle, output))) == 75
    assert safetensors.WEIGHTS_FILE in written  # it was well under way
    assert list(tmp_path.iterdir()) == []


def test_a_fork_ends_as_if_there_were_no_handler():
    def forks() -> int:
        child = os.fork()
        if child == 0:
            signal.raise_signal(signal.SIGTERM)
            os._exit(3)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert failures.exit_code(forks) == -signal.SIGTERM
