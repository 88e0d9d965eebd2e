import subprocess
import sys

import pytest

import videobert_jax
from videobert_jax.cli import export, failures, main
from videobert_jax.files.extras import MissingExtra


@pytest.mark.parametrize("command", main.COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main.main([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: videobert {command}" in capsys.readouterr().out


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit):
        main.main(["--help"])
    listed = capsys.readouterr().out
    for command in main.COMMANDS:
        assert f"\n    {command}" in listed


def test_a_command_gives_its_exit_code(monkeypatch, capsys):
    monkeypatch.setattr(export, "run", lambda arguments: 7 if arguments.force else 8)
    assert main.main(["export", "--checkpoint=a", "--output=b", "--force"]) == 7
    assert main.main(["export", "--checkpoint=a", "--output=b"]) == 8


def test_the_package_runs_as_a_program(capsys):
    run = subprocess.run(
        [sys.executable, "-m", "videobert_jax", "--version"], capture_output=True, text=True
    )
    assert run.stdout == f"videobert-jax {videobert_jax.__version__}\n"
    with pytest.raises(SystemExit, match="2"):
        main.main(["unlearn"])
    assert "invalid choice: 'unlearn'" in capsys.readouterr().err


def test_errors_of_the_package_are_one_line(capsys):
    def fail() -> int:
        raise MissingExtra("this needs av; install it with: pip install ...")

    assert failures.exit_code(fail) == failures.BAD_INPUT
    assert capsys.readouterr().err == "error: this needs av; install it with: pip install ...\n"


def test_faults_of_the_program_keep_their_traceback():
    def fail() -> int:
        raise ValueError("operands could not be broadcast")

    with pytest.raises(ValueError, match="broadcast"):
        failures.exit_code(fail)


def test_an_interruption_is_no_traceback(capsys):
    def stop() -> int:
        raise KeyboardInterrupt

    assert failures.exit_code(stop) == failures.INTERRUPTED
    assert capsys.readouterr().err == "stopped\n"
