"""Two starts of one run: the second is refused while the first is alive, and goes on when it is
not. Processes are real; other machines are names in a lease."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from videobert_jax.training import goodput, lease, wall_time

_TAKES = """
import pathlib, sys, time
from videobert_jax.training import lease
lease.take(pathlib.Path(sys.argv[1]))
print("taken", flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: pathlib.Path) -> Iterator[subprocess.Popen]:
    """A process that has the lease."""
    command = [sys.executable, "-c", _TAKES, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "taken\n"
        yield process
        process.kill()


def require_free(workdir: pathlib.Path, seconds: float = lease.WATCHED_SECONDS) -> None:
    lease.require_free(workdir, workdir / goodput.GOODPUT_FILE, seconds)


def change(workdir: pathlib.Path, **fields: Any) -> None:
    """Of the lease that was taken last."""
    path = workdir / lease.LEASES / "1.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux says when a process began"
)


@linux
def test_a_start_is_refused_while_another_process_is_alive_and_not_after_its_death(
    tmp_path: pathlib.Path, holder: subprocess.Popen
):
    for frozen in (False, True):
        if frozen:
            holder.send_signal(signal.SIGSTOP)
        with pytest.raises(lease.LeaseError) as refused:
            require_free(tmp_path, 0.1)
        said = str(refused.value)
        assert f"process {holder.pid} on " in said and "give this one its own --workdir" in said
    holder.kill()
    begun = time.monotonic()
    require_free(tmp_path)  # a process that nobody has waited for has its number still
    assert time.monotonic() - begun < lease.WATCHED_SECONDS / 2
    assert lease.take(tmp_path).number == 2


@linux
def test_a_start_waits_for_one_that_is_about_to_end(
    tmp_path: pathlib.Path, holder: subprocess.Popen, capsys: pytest.CaptureFixture[str]
):
    threading.Timer(0.3, holder.kill).start()
    require_free(tmp_path)
    assert f"process {holder.pid} on " in capsys.readouterr().out


@linux
def test_another_process_of_the_same_number_is_not_taken_for_it(
    tmp_path: pathlib.Path, holder: subprocess.Popen
):
    """As the first process of a container that was started again."""
    change(tmp_path, tick=1)
    require_free(tmp_path)
    assert holder.poll() is None and lease.take(tmp_path).number == 2


def test_a_process_may_begin_once_more(tmp_path: pathlib.Path):
    lease.take(tmp_path)
    if not sys.platform.startswith("linux"):
        change(tmp_path, ended="now")
    require_free(tmp_path)
    assert lease.take(tmp_path).number == 2


def test_a_start_on_another_machine_is_known_by_what_it_writes(tmp_path: pathlib.Path):
    lease.take(tmp_path)
    change(tmp_path, machine="another one", host="other")
    require_free(tmp_path, 0.1)  # it writes nothing: it was killed
    written = tmp_path / goodput.GOODPUT_FILE
    written.write_text("1")
    threading.Timer(0.2, written.write_text, ["2"]).start()
    with pytest.raises(lease.LeaseError, match=f"process {os.getpid()} on other, started"):
        require_free(tmp_path, 1.0)


def test_one_on_another_machine_that_said_that_it_ended_is_not_watched(tmp_path: pathlib.Path):
    held = lease.take(tmp_path)
    held.end()
    change(tmp_path, machine="another one")
    begun = time.monotonic()
    require_free(tmp_path)
    assert time.monotonic() - begun < lease.WATCHED_SECONDS / 2


@pytest.mark.parametrize("content", ["", "3", '{"process": "../1", "machine": 3}', "[1"])
def test_a_damaged_lease_is_watched_as_one_of_another_machine(tmp_path: pathlib.Path, content: str):
    lease.take(tmp_path)
    (tmp_path / lease.LEASES / "1.json").write_text(content)
    require_free(tmp_path, 0.1)
    written = tmp_path / goodput.GOODPUT_FILE
    threading.Timer(0.2, written.write_text, ["2"]).start()
    with pytest.raises(lease.LeaseError, match="process .* on unknown"):
        require_free(tmp_path, 1.0)


def test_the_end_of_a_run_is_said_in_its_lease(tmp_path: pathlib.Path):
    times = goodput.Goodput(wall_time.WallTime())
    times.open(lease.take(tmp_path))
    path = tmp_path / lease.LEASES / "1.json"
    assert "ended" not in json.loads(path.read_text())
    times.close()
    assert "ended" in json.loads(path.read_text())
