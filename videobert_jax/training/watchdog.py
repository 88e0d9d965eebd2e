"""Ends a run that hangs: says in which process and where, and leaves with a code that says "start
again" (`stopping.HUNG`).

A collective that waits for a process that never comes cannot be unwound, so two threads look on
from beside it. One of them talks to the other processes, and may itself be kept waiting; the other
only looks at clocks.

    WORKDIR/hangs/TIME_process_NUMBER.txt  what was said, and the stacks of all threads
"""

import dataclasses
import faulthandler
import functools
import json
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

from videobert_jax.files import atomic, stopping, storage
from videobert_jax.training import peers, preemption, wall_time

HANGS = "hangs"
_LONG_SECONDS = (
    3600.0  # at least, of what is not a step: a compilation, a save, an evaluation's batch
)
# What comes before a step, and the step, in the order of a run and its loop.
_TURNS = (
    wall_time.START,
    wall_time.RESTORE,
    wall_time.OTHER,
    wall_time.CHECKPOINT,
    wall_time.EVALUATION,
    wall_time.PROFILE,
    wall_time.DATA,
    wall_time.COMPILE,
    wall_time.STEP,
)
_SILENT_SECONDS = 60.0  # without a word from a process, whatever its main thread does
_ASK_SECONDS = 10.0  # without a step, after which the others are asked where they are
_POLL_SECONDS = 1.0
_TELL_SECONDS = 5.0
_LEAVE_SECONDS = 15.0


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a process says that it is. beat: a number that changes whenever it says so."""

    step: int
    kind: str  # of wall_time
    seconds: float  # for which its main thread has come no further
    host: str
    beat: int

    def __str__(self) -> str:
        return f"at step {self.step} in {self.kind!r} for {self.seconds:.0f} s"


class Watchdog:
    """Context in which a main thread that comes no further ends the process. The main thread says
    `beat` where it does, and its clock says what it is on."""

    def __init__(
        self,
        workdir: storage.Path,
        clock: wall_time.WallTime,
        timeout_seconds: float,
        group: peers.Group | None = None,
        *,
        leave: Callable[[int], Any] = os._exit,
        poll_seconds: float = _POLL_SECONDS,
        silent_seconds: float = _SILENT_SECONDS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """timeout_seconds: of a step, or of waiting for its data; 0 never ends a run. leave: ends
        the process, whatever its other threads do. now: seconds."""
        self._workdir, self._clock, self._timeout = workdir, clock, timeout_seconds
        self._group, self._leave = group, leave
        self._poll, self._silent = poll_seconds, silent_seconds
        self._now = now
        self._tell = min(_TELL_SECONDS, timeout_seconds / 10)
        self._step, self._beaten = 0, self._now()
        self._places: dict[int, Place] = {}
        self._heard: dict[int, float] = {}  # when a process last said something new
        self._begun = self._answered = self._now()  # when the service last answered
        self._listened = self._told_to_leave = False
        self._closed = threading.Event()

    def __enter__(self) -> "Watchdog":
        if self._timeout > 0:
            names: dict[str, Callable[[], None]] = {"watch": self._watch}
            if self._group is not None:
                names["peers"] = functools.partial(self._talk, self._group)
            for name, target in names.items():
                threading.Thread(target=target, name=name, daemon=True).start()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._closed.set()
        if isinstance(error, jax.errors.JaxRuntimeError) and self._others_left():
            place = self._place()
            self._end(
                f"process {self._number} ({place.host}) ends with the others, which left a "
                f"collective {place}: {error}"
            )

    def _others_left(self) -> bool:
        """Whether others said that they end a run that hangs: those that see it first leave this
        process in a collective that then fails, and jax would abort it."""
        try:
            return self._told_to_leave or bool(self._group and self._group.told("hung"))
        except RuntimeError:  # nobody serves what was said
            return False

    def beat(self, step: int) -> None:
        """The main thread comes by, before this step."""
        self._step, self._beaten = step, self._now()

    def trouble(self) -> str | None:
        """What is wrong, and who is to blame as far as is known; None where all is well."""
        place = self._place()
        limit = self._limit(place.kind)
        if limit is None:
            return None
        silent = self._silences(self._silent) if place.seconds > _ASK_SECONDS else {}
        if place.seconds > limit:
            silent = self._silences(3 * self._tell)
            said = f"came no further {place}, {limit:.0f} s allowed"
            said += " (training.step_timeout_seconds)" if limit == self._timeout else ""
        elif silent:
            said = f"waits {place}"
        elif self._told_to_leave:
            said = f"ends with the others, {place}"
        else:
            return None
        who = suspects(self._places | {self._number: place}, silent)
        return f"process {self._number} ({place.host}) {said}. {who}"

    @property
    def _number(self) -> int:
        return 0 if self._group is None else self._group.process

    def _place(self) -> Place:
        kind, seconds = self._clock.now_on()
        now = self._now()
        return Place(
            self._step,
            kind,
            min(seconds, now - self._beaten),
            socket.gethostname(),
            int(now * 1e3),
        )

    def _limit(self, kind: str) -> float | None:
        """Seconds that the main thread may be on something; None for as long as it takes: at the
        start datasets are copied, and jax by itself notices there who has gone."""
        if kind in (wall_time.START, wall_time.RESTORE):
            return None
        return self._timeout if kind in wall_time.TRAINING else max(self._timeout, _LONG_SECONDS)

    def _silences(self, least: float) -> dict[int, float]:
        """Seconds for which processes have said nothing new, where that is more than `least`."""
        now = self._now()
        if self._group is not None and now - self._answered > least:
            return {0: now - self._answered}  # it serves: without it nobody is heard
        silences = {process: now - heard for process, heard in self._heard.items()}
        if self._group is not None and self._listened:
            others = set(range(self._group.count)) - {self._number}
            silences |= dict.fromkeys(others - silences.keys(), now - self._begun)
        return {process: seconds for process, seconds in silences.items() if seconds > least}

    def _watch(self) -> None:
        """The thread that looks at clocks."""
        while not self._closed.wait(self._poll):
            trouble = self.trouble()
            if trouble is not None:
                self._end(trouble)
                return

    def _talk(self, group: peers.Group) -> None:
        """The thread that talks to the others; it asks where they are when this one waits."""
        while not self._closed.is_set():
            mine = self._place()
            try:
                group.tell("place", json.dumps(dataclasses.asdict(mine)))
                if mine.seconds > min(_ASK_SECONDS, self._timeout / 4):
                    self._hear(group.told("place"))
                    self._told_to_leave = bool(group.told("hung"))
                self._answered = self._now()
            except RuntimeError:
                pass  # unreachable for now, or for good: then `_answered` says so
            self._closed.wait(self._tell)

    def _hear(self, told: Mapping[int, str]) -> None:
        self._listened = True
        for process, text in told.items():
            if process == self._number:
                continue
            place = Place(**json.loads(text))
            before = self._places.get(process)
            if before is None or place.beat != before.beat:
                self._heard[process] = self._now()
            self._places[process] = place

    def _end(self, trouble: str) -> None:
        """Writes what is known, and leaves."""
        with tempfile.TemporaryFile("w+") as file:
            faulthandler.dump_traceback(file, all_threads=True)
            file.seek(0)
            stacks = file.read()
        print(f"{trouble}\n\n{stacks}", file=sys.stderr, flush=True)
        name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}_process_{self._number}.txt"
        path = self._workdir / HANGS / name
        for work in (lambda: _write(path, f"{trouble}\n\n{stacks}"), self._part):
            helper = threading.Thread(target=work, daemon=True)  # what it asks may hang too
            helper.start()
            helper.join(_LEAVE_SECONDS)
        print(f"{path} has it too; start again with the same command to continue", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        self._leave(stopping.HUNG)

    def _part(self) -> None:
        if self._group is not None:
            silent = len(self._silences(3 * self._tell))
            preemption.leave_after_others(self._group, "hung", _LEAVE_SECONDS, missing=silent)


def suspects(places: Mapping[int, Place], silent: Mapping[int, float]) -> str:
    """Who holds up a run, by what its processes say of themselves.

    places: of every process that is known, by number. silent: seconds for which some have said
    nothing. A silent process is to blame before one that is behind, and of those before the same
    step one whose turn comes first before those that wait for it in what follows.
    """
    if silent:
        said = []
        for process, seconds in sorted(silent.items()):
            place = places.get(process)
            last = f" ({place.host}), last heard {place}" if place else ", never heard"
            said.append(f"process {process}{last}, {seconds:.0f} s ago")
        return f"Silent: {'; '.join(said)}."
    if len(places) == 1:
        return "The stacks say where."
    first = min(place.step for place in places.values())
    behind = {number: place for number, place in places.items() if place.step == first}
    if len(behind) == len(places):
        turns = {number: _TURNS.index(place.kind) for number, place in places.items()}
        earliest = min(turns.values())
        behind = {number: place for number, place in places.items() if turns[number] == earliest}
    if len(behind) < len(places):
        said = [f"process {n} ({place.host}), {place}" for n, place in sorted(behind.items())]
        return f"Behind the others: {'; '.join(said)}."
    return "All processes are at the same place: a device, the network, or the file system."


def _write(path: storage.Path, text: str) -> None:
    storage.make_folder(path.parent)
    atomic.write_text(path, text)
