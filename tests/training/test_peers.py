"""Real processes and jax's own store: they stop at one point, and one that is frozen is named."""

import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from videobert_jax.files import stopping

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# A run without what takes long: points instead of steps; where one freezes, none comes further.
PROGRAM = """
import pathlib, sys, time
import jax
from videobert_jax.files import stopping
from videobert_jax.training import hardware, peers, preemption, wall_time, watchdog

folder, process, port, kind = sys.argv[1:]
clock = wall_time.WallTime()
with preemption.StopSignal() as signal:
    hardware.start("cpu", f"127.0.0.1:{port}", 2, int(process))
    signal.join(peers.open_group())
    with watchdog.Watchdog(pathlib.Path(folder), clock, 5.0, peers.open_group()) as watch:
        points = 0
        if kind != "starting":
            signal.hold()
        pathlib.Path(folder, f"up_{process}").touch()
        with clock.spent_on(wall_time.START if kind == "starting" else wall_time.STEP):
            while not signal.requested():
                points += 1
                if kind != "frozen":
                    watch.beat(points)
                time.sleep(0.01 if process == "0" else 0.03)
        print("stopped at", points, flush=True)
sys.exit(stopping.STOPPED)
"""


@pytest.fixture
def both(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[list]:
    """Two processes of a kind, that have met and pass points."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path), str(i), port, request.param],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for i in range(2)
    ]
    while len(list(tmp_path.glob("up_*"))) < 2 and not any(p.poll() for p in started):
        time.sleep(0.05)
    yield started
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("both", ["running"], indirect=True)
def test_processes_stop_at_one_point(both):
    both[1].send_signal(signal.SIGTERM)
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [stopping.STOPPED] * 2, said
    assert "stopped at" in said[0][0] and said[0][0] == said[1][0]


@pytest.mark.parametrize("both", ["starting"], indirect=True)
def test_processes_that_have_nothing_to_save_leave_at_once(both):
    both[0].send_signal(signal.SIGTERM)
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [stopping.STOPPED] * 2, said
    assert [out for out, _ in said] == ["", ""] and "SIGTERM of a process" in said[1][1]


@pytest.mark.parametrize("both", ["frozen"], indirect=True)
@pytest.mark.parametrize("frozen", [pytest.param(0, marks=pytest.mark.long), 1])
def test_a_frozen_process_is_named_even_where_it_serves_the_others(both, frozen, tmp_path):
    both[frozen].send_signal(signal.SIGSTOP)
    said = both[1 - frozen].communicate(timeout=300)[1]
    assert both[1 - frozen].returncode == stopping.HUNG, said
    assert f"Silent: process {frozen}" in said
    assert len(list((tmp_path / "hangs").iterdir())) == 1
