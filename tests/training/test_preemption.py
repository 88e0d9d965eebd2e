"""Real signals ask the loop to stop, all processes at one point, and leave no handler behind."""

import hashlib
import os
import signal
import threading
import time

import pytest

from tests.training.peers_in_memory import Store
from videobert_jax.files import stopping
from videobert_jax.training.preemption import StopSignal


def never(code: int) -> None:
    raise AssertionError(f"it left with {code}")


def eventually(found: list) -> bool:
    """Whether a thread puts something there."""
    deadline = time.monotonic() + 10
    while not found and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(found)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_to_stop_at_the_next_point(number: signal.Signals):
    before = signal.getsignal(number)
    with StopSignal(leave=never) as stop:
        stop.hold()
        assert not stop.requested()
        os.kill(os.getpid(), number)
        assert stop.requested() and stop.reason == number.name
    assert signal.getsignal(number) is before


def test_a_second_interrupt_does_not_wait():
    with StopSignal(leave=never) as stop:
        stop.hold()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)  # what a thread does with the first one is no second one
        assert stop.requested()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_at_the_start_is_an_interrupt():
    with StopSignal(leave=never), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)


def test_where_nothing_would_be_lost_the_process_ends_at_once_though_no_python_runs():
    ends: list[tuple[int, float]] = []
    closed: list[float] = []
    with StopSignal(leave=lambda code: ends.append((code, time.monotonic()))) as stop:
        stop.before_leaving(lambda: closed.append(time.monotonic()))
        stop.hold()
        stop.release()
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        hashlib.pbkdf2_hmac("sha256", b"a compiler", b"", 600_000)  # Python's handler waits for it
        ended = time.monotonic()
    [(code, at)] = ends
    assert code == stopping.STOPPED == 75
    assert closed[0] <= at < ended


@pytest.mark.parametrize("slower", [0, 1])
@pytest.mark.parametrize("asked", [0, 1])
@pytest.mark.parametrize("still_starting", [(), (0,)])
def test_all_processes_stop_at_one_point(slower: int, asked: int, still_starting: tuple):
    store = Store(3)
    passed = {}

    def loop(number: int, stop: StopSignal) -> None:
        count = 0
        while not stop.requested():
            count += 1
            if count == 3:
                stop.hold()
            time.sleep(0.01 if number == slower else 0.002)
        passed[number] = count

    def signals():
        return [
            StopSignal(store.member(number), leave=never, poll_seconds=0.05) for number in order
        ]

    # Contexts inside one another: the innermost is the process that gets the signal.
    order = sorted(range(3), key=lambda number: number == asked)
    first, second, last = signals()
    with first, second, last:
        stops = dict(zip(order, (first, second, last), strict=True))
        for number in set(order) - set(still_starting):
            stops[number].hold()
        loops = [threading.Thread(target=loop, args=item) for item in stops.items()]
        for thread in loops:
            thread.start()
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        for thread in loops:
            thread.join()
    assert len(set(passed.values())) == 1, passed
    assert last.reason == "SIGTERM" and first.reason == "SIGTERM of a process"


def test_processes_that_may_all_leave_do_and_the_one_that_serves_is_the_last():
    store, left = Store(2), []
    first = StopSignal(store.member(0), leave=lambda _: left.append(0), poll_seconds=0.05)
    second = StopSignal(store.member(1), leave=lambda _: left.append(1), poll_seconds=0.05)
    with second, first:
        os.kill(os.getpid(), signal.SIGTERM)
        assert eventually(left) and not left[1:]
        deadline = time.monotonic() + 10
        while len(left) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert left == [1, 0]
