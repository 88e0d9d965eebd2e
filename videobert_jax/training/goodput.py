"""What the wall time of a run went to since its first start, over kills and pauses.

    WORKDIR/goodput.json   seconds and shares by kind, and each start's own; written every ten
                           seconds, so that a kill leaves no more than those without a kind

Beside the kinds of `wall_time`: `lost` are steps that were taken once more, with their waits and
evaluations, since nothing of them was saved; `unrecorded` is what a killed start did after it last
wrote the file, at most; `down` is when no process ran. Seconds that two starts shared, because the
later one began before the earlier one had ended, count once.
"""

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from videobert_jax.files import atomic, errors, storage
from videobert_jax.training import lease, metrics, run_record, wall_time

GOODPUT_FILE = "goodput.json"
FORMAT = 1
RECORD_SECONDS = 10.0
LOST, UNRECORDED, DOWN = "lost", "unrecorded", "down"
KINDS: tuple[str, ...] = (*wall_time.KINDS, LOST, UNRECORDED, DOWN)
# What is lost with a step that is taken again. A save stays a save, and a start a start.
_OF_STEPS = (wall_time.DATA, wall_time.STEP, wall_time.EVALUATION, wall_time.OTHER)
_LONGEST = 1e12  # seconds that a file may say
_REMEDY = (
    "put the run's own back, or delete it: then its times begin anew, and nothing else changes"
)
_MARKS, _OLD_MARKS = 64, 8  # steps that a start, and one before it, can be gone back to exactly


@dataclasses.dataclass
class _Start:
    """One start. began: seconds of the epoch. seconds: by kind, without what is `lost`, which is a
    kind of its own. before: `unrecorded` and `down` since the start before. step: taken in all.
    marks: (step, seconds of `_OF_STEPS` until then). ended: it was not killed."""

    began: float
    seconds: dict[str, float]
    before: dict[str, float]
    step: int
    marks: list[tuple[int, dict[str, float]]]
    ended: bool

    @property
    def end(self) -> float:
        return self.began + sum(self.seconds.values())

    def mark(self, step: int) -> None:
        self.step = max(self.step, step)
        now = {kind: self.seconds[kind] for kind in _OF_STEPS}
        self.marks = [*(mark for mark in self.marks if mark[0] < step), (step, now)][-_MARKS:]

    def lose_after(self, step: int) -> dict[str, float]:
        """Makes what was spent on steps after this one `lost`; returns it by its kinds before."""
        if self.step <= step:
            return {}
        self.marks = [mark for mark in self.marks if mark[0] <= step]
        kept = self.marks[-1][1] if self.marks else {}
        gone = {kind: self.seconds[kind] - kept.get(kind, 0.0) for kind in _OF_STEPS}
        for kind, seconds in gone.items():
            self.seconds[kind] -= seconds
        self.seconds[LOST] += sum(gone.values())
        self.step = step
        return gone


class Goodput:
    """The record of this start, behind those before; written by the lease's holder."""

    def __init__(self, clock: wall_time.WallTime, now: Callable[[], float] = time.time) -> None:
        """now: seconds of the epoch."""
        self.clock = clock
        self._taken_off = dict.fromkeys(KINDS, 0.0)  # from the clock's own sums
        so_far = clock.so_far()
        self._start = _Start(
            began=now() - sum(so_far.values()),
            seconds=dict.fromkeys(KINDS, 0.0),
            before={UNRECORDED: 0.0, DOWN: 0.0},
            step=0,
            marks=[],
            ended=False,
        )
        self._earlier: list[_Start] = []
        self._lease: lease.Lease | None = None
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._failed = False

    def open(self, taken: lease.Lease) -> None:
        """Goes on with what the workdir's starts before recorded. Raises RunRecordError."""
        self._lease = taken
        self._earlier = _read(taken.workdir)
        if self._earlier:
            self._follow(self._earlier[-1])
        self._record()
        threading.Thread(target=self._record_regularly, name="goodput", daemon=True).start()

    def goes_on_from(self, step: int) -> None:
        """The run is at this step: what was spent on later ones, by any start, is lost."""
        with self._lock:
            self._update()
            for start in self._earlier:
                start.lose_after(step)
            gone = self._start.lose_after(step)
            for kind, seconds in gone.items():
                self._taken_off[kind] += seconds
            self._taken_off[LOST] -= sum(gone.values())
            self._start.mark(step)

    def taken(self, step: int) -> None:
        """So many steps are taken in all."""
        self._start.step = step

    def saved(self, step: int) -> None:
        """A start may go on from this step."""
        with self._lock:
            self._update()
            self._start.mark(step)

    def close(self) -> None:
        """Records the end of this start; where it is not called, it was killed."""
        self._closed.set()
        self._start.ended = True
        self._record()

    def seconds(self) -> dict[str, float]:
        """Of all starts together, by kind."""
        with self._lock:
            self._update()
            return _sum([*self._earlier, self._start])

    def __str__(self) -> str:
        seconds, starts = self.seconds(), len(self._earlier) + 1
        return (
            f"{wall_time.shares(seconds)} of {wall_time.duration(sum(seconds.values()))} since "
            f"the first of {starts} start{'s' if starts > 1 else ''}"
        )

    def _follow(self, last: _Start) -> None:
        """Says what the time since the start before was."""
        gap = self._start.began - last.end
        if gap < 0:
            shared = min(-gap, self.clock.so_far()[wall_time.START])
            self._taken_off[wall_time.START] += shared
            self._start.began += shared
            if shared < -gap:
                metrics.show(
                    f"the clock was put back by {-gap - shared:.0f} s since the start before; "
                    f"{GOODPUT_FILE} counts that time twice"
                )
            return
        unrecorded = 0.0 if last.ended else min(gap, RECORD_SECONDS)
        self._start.before = {UNRECORDED: unrecorded, DOWN: gap - unrecorded}

    def _update(self) -> None:
        so_far = self.clock.so_far()
        for kind in KINDS:
            self._start.seconds[kind] = so_far.get(kind, 0.0) - self._taken_off[kind]

    def _record_regularly(self) -> None:
        while not self._closed.wait(RECORD_SECONDS):
            self._record()

    def _record(self) -> None:
        """Writes the file, if this is the last start. What keeps it from being written is said
        once, and ends no run: the next time may be better, and so may the next save."""
        if self._lease is None:
            return
        try:
            self._lease.require_last()
            with self._lock:
                self._update()
                fields = _as_json([*self._earlier, self._start])
                atomic.write_json(self._lease.workdir / GOODPUT_FILE, fields, indent=None)
                if self._start.ended:
                    self._lease.end()
        except lease.LeaseError:
            self._closed.set()  # the loop finds it, too, before it saves
        except Exception as error:  # each store has errors of its own
            if not self._failed:
                metrics.show(f"{GOODPUT_FILE} could not be written ({error})")
            self._failed = True


def read(workdir: storage.Path) -> dict[str, Any] | None:
    """goodput.json of a run; None where there is none. Raises RunRecordError."""
    path = workdir / GOODPUT_FILE
    if not path.is_file():
        return None
    fields = run_record.read_json(path)
    run_record.require_format(path, fields, FORMAT)
    with errors.of_form(path, run_record.RunRecordError, _REMEDY):
        starts = [_start(each) for each in fields["starts"]]
        wall = _finite(fields["wall_seconds"])
        return {**fields, "wall_seconds": wall, "seconds": _sum(starts)}


def _read(workdir: storage.Path) -> list[_Start]:
    fields = read(workdir)
    return [] if fields is None else [_start(each) for each in fields["starts"]]


def _start(fields: Mapping[str, Any]) -> _Start:
    return _Start(
        began=_finite(fields["began"]),
        seconds=dict.fromkeys(KINDS, 0.0) | _by_kind(fields["seconds"]),
        before=_by_kind(fields["before"]),
        step=int(fields["step"]),
        marks=[(int(step), _by_kind(spent)) for step, spent in fields["marks"][-_OLD_MARKS:]],
        ended=bool(fields["ended"]),
    )


def _by_kind(seconds: Mapping[str, Any]) -> dict[str, float]:
    if strange := seconds.keys() - set(KINDS):
        raise ValueError(f"unknown kinds of time: {', '.join(sorted(strange)):.80}")
    return {kind: _finite(value) for kind, value in seconds.items()}


def _finite(seconds: Any) -> float:
    if not abs(found := float(seconds)) < _LONGEST:
        raise ValueError(f"{found} seconds")
    return found


def _sum(starts: list[_Start]) -> dict[str, float]:
    total = dict.fromkeys(KINDS, 0.0)
    for start in starts:
        for part in (start.seconds, start.before):
            for kind, seconds in part.items():
                total[kind] += seconds
    return total


def _as_json(starts: list[_Start]) -> dict[str, Any]:
    """wall_seconds are by the clock on the wall, not the sum of the kinds: shares that add up to
    anything but 1 show a fault."""
    seconds = _sum(starts)
    wall = max(starts[-1].end - starts[0].began, 1e-9)
    return {
        "format": FORMAT,
        "goodput": seconds[wall_time.STEP] / wall,
        "wall_seconds": wall,
        "seconds": seconds,
        "shares": {kind: value / wall for kind, value in seconds.items()},
        "starts": [dataclasses.asdict(start) for start in starts],
    }
