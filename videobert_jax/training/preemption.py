"""Stopping a run that is asked to by SIGTERM to any of its processes, or by Ctrl-C once.

While nothing would be lost (before the first step of a start) the processes end at once, whatever
they do. After that they stop together at the next *point*: before a step, between two batches of
an evaluation, behind a compilation.

A signal is read from a pipe by a thread, since Python's own handlers wait for as long as a
compiler or a collective runs. With several processes the thread tells the others. Then each holds
back from its next point, says how many points it has passed, and whether it may leave; from what
all have said each draws the same conclusion, so nobody waits in a collective for one that has gone.
"""

import contextlib
import json
import os
import select
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

from videobert_jax.files import stopping
from videobert_jax.training import peers

_POLL_SECONDS = 1.0  # between two looks whether another process was asked
_AGREE_SECONDS = 60.0  # within which the threads of all processes answer
_LEAVE_SECONDS = 10.0  # that process 0, which serves the others, waits for them to be gone
_LAST_SECONDS = 5.0  # that is waited for what is to be done last
_NUMBERS = (signal.SIGTERM, signal.SIGINT)


class StopSignal:
    """Context in which SIGTERM and the first Ctrl-C ask to stop. A second Ctrl-C, or one while
    nothing would be lost, raises KeyboardInterrupt. Enter it in the main thread, and in all
    processes alike."""

    def __init__(
        self,
        group: peers.Group | None = None,
        *,
        leave: Callable[[int], Any] = os._exit,
        poll_seconds: float = _POLL_SECONDS,
    ) -> None:
        """leave: ends the process with an exit code, whatever its other threads do."""
        self.reason: str | None = None
        self._group, self._leave, self._poll = group, leave, poll_seconds
        self._gate = threading.Lock()  # nobody passes a point while processes agree
        self._may_leave, self._points = True, 0
        self._stop_at: int | None = None
        self._handled = self._answered = self._closed = False
        self._previous: dict[signal.Signals, Any] = {}
        self._last: Callable[[], None] = lambda: None

    def __enter__(self) -> "StopSignal":
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._previous_fd = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in _NUMBERS:
            self._previous[number] = signal.signal(number, self._handle)
        self._thread = threading.Thread(target=self._watch, name="stop", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_fd)
        self._closed = True
        os.write(self._writer, b"\0")
        self._thread.join(_LEAVE_SECONDS)
        if not self._thread.is_alive():  # else it waits for a service that is gone
            os.close(self._reader)
            os.close(self._writer)

    def join(self, group: peers.Group | None) -> None:
        """From here on this process is one of a group, which stops together."""
        self._group = group
        os.write(self._writer, b"\0")  # the thread begins to look at the others

    def before_leaving(self, action: Callable[[], None]) -> None:
        """Where the process ends at once, a thread does this before."""
        self._last = action

    def hold(self) -> None:
        """From here on something would be lost: a stop waits for a point."""
        with self._gate:
            self._may_leave = False

    def release(self) -> None:
        """From here on all is saved, as at the beginning."""
        with self._gate:
            self._may_leave = True

    def requested(self) -> bool:
        """Whether to stop at this point. All processes pass the same points in the same order."""
        with self._gate:
            self._points += 1
            if self._group is None:
                return self.reason is not None
            return self._stop_at is not None and self._points >= self._stop_at

    def _handle(self, number: int, _: types.FrameType | None) -> None:
        if number == signal.SIGINT and (self._handled or self._may_leave):
            raise KeyboardInterrupt
        self._handled = True
        self.reason = signal.Signals(number).name

    def _watch(self) -> None:
        """The thread: answers the first signal, of this process or another."""
        while not self._closed and not self._answered:
            wait = None if self._group is None else self._poll
            ready, _, _ = select.select([self._reader], [], [], wait)
            numbers = os.read(self._reader, 64) if ready else b""
            # at the start Ctrl-C is an interrupt like any other: the caller may be a notebook
            asks = _NUMBERS[:1] if self._may_leave else _NUMBERS
            name = next((signal.Signals(n).name for n in numbers if n in asks), None)
            try:
                if name is not None or self._another_was_asked():
                    self._answer(name)
            except RuntimeError:  # the service is gone; jax ends the process by itself
                return

    def _another_was_asked(self) -> bool:
        return self._group is not None and not self._closed and bool(self._group.told("stop"))

    def _answer(self, name: str | None) -> None:
        """Ends the process, or sets the point to stop at."""
        said = name or "SIGTERM of a process"
        with self._gate:
            self._answered = True
            places = {0: (self._points, self._may_leave)}
            if self._group is not None:
                if name is not None:
                    self._group.tell("stop", name)
                places = self._places(self._group)
            if all(may_leave for _, may_leave in places.values()):
                self._go(said)
                return
            self._stop_at = 1 + max(points for points, _ in places.values())
            self.reason = said
        print(f"{said} received: saving, then stopping", file=sys.stderr, flush=True)

    def _places(self, group: peers.Group) -> dict[int, tuple[int, bool]]:
        """(points passed, whether it may leave) of every process that answers."""
        group.tell("place", json.dumps([self._points, self._may_leave]))
        deadline = time.monotonic() + _AGREE_SECONDS
        while True:
            told = group.told("place")
            if len(told) == group.count or self._closed or time.monotonic() > deadline:
                return {process: tuple(json.loads(text)) for process, text in told.items()}
            time.sleep(self._poll / 20)

    def _go(self, said: str) -> None:
        print(
            f"{said}: stopped; no step was taken that is not saved. Start again with the same "
            "command to continue",
            file=sys.stderr,
        )
        last = threading.Thread(target=self._last, daemon=True)  # the disk may hang
        last.start()
        last.join(_LAST_SECONDS)
        if self._group is not None:
            leave_after_others(self._group, "left", _LEAVE_SECONDS)
        sys.stdout.flush()
        sys.stderr.flush()
        self._leave(stopping.STOPPED)


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Context in which SIGTERM to one of several processes ends all of them at once: for work that
    has nothing to save. With one process it changes nothing."""
    group = peers.open_group()
    with contextlib.nullcontext() if group is None else StopSignal(group):
        yield


def leave_after_others(group: peers.Group, topic: str, seconds: float, missing: int = 0) -> None:
    """Tells the others that this process leaves. Process 0, whose service the others need to
    leave in order, returns when all but `missing` of them have told so, or after so many seconds.
    """
    group.tell(topic, "now")
    deadline = time.monotonic() + seconds
    while group.process == 0 and time.monotonic() < deadline:
        if len(group.told(topic)) >= group.count - missing:
            time.sleep(0.2)  # from telling to being gone
            return
        time.sleep(0.1)
