"""What the wall time of a run goes to: every moment is one thing's, so that all of it adds up."""

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping

# Waiting for a batch; dispatching a step, and waiting for what the one before it found.
DATA, STEP = "data", "step"
START, RESTORE, COMPILE = "start", "restore", "compile"
CHECKPOINT, EVALUATION = "checkpoint", "evaluation"
PROFILE = "profile"
OTHER = "other"  # what nobody claims
TRAINING = (DATA, STEP, OTHER)  # what speeds are of
KINDS: tuple[str, ...] = (
    START,
    RESTORE,
    COMPILE,
    DATA,
    STEP,
    CHECKPOINT,
    EVALUATION,
    PROFILE,
    OTHER,
)


class WallTime:
    """Seconds by kind since it was made, as one thread spends them; others may look on."""

    def __init__(self, start_seconds: float = 0.0) -> None:
        """start_seconds: that the process has spent on its start before this was made."""
        self.total: dict[str, float] = dict.fromkeys(KINDS, 0.0)
        self._reported = dict(self.total)
        self.total[START] = start_seconds
        self._lock = threading.Lock()
        self._kind, self._since = OTHER, time.monotonic()

    @contextlib.contextmanager
    def spent_on(self, kind: str) -> Iterator[None]:
        """The block's time is this kind's, but for what blocks inside it claim."""
        outer = self._switch(kind)
        try:
            yield
        finally:
            self._switch(outer)

    def interval(self) -> dict[str, float]:
        """Seconds by kind since the last call; their sum is the time that has passed."""
        self._switch(self._kind)
        since = {kind: self.total[kind] - self._reported[kind] for kind in KINDS}
        self._reported = dict(self.total)
        return since

    def now_on(self) -> tuple[str, float]:
        """(kind, seconds for which it has been on it), as another thread may ask."""
        with self._lock:
            return self._kind, time.monotonic() - self._since

    def so_far(self) -> dict[str, float]:
        """Seconds by kind until now."""
        with self._lock:
            running = {self._kind: time.monotonic() - self._since}
            return {kind: self.total[kind] + running.get(kind, 0.0) for kind in KINDS}

    def __str__(self) -> str:
        """ "81.2 % step, 9.0 % compile, ..., 0.4 % other of 3 min 20 s", the largest first."""
        self._switch(self._kind)
        return f"{shares(self.total)} of {duration(sum(self.total.values()))}"

    def _switch(self, kind: str) -> str:
        """Gives the time since the last switch to the kind until now, which it returns."""
        with self._lock:
            now, before = time.monotonic(), self._kind
            self.total[before] += now - self._since
            self._kind, self._since = kind, now
        return before


def shares(seconds: Mapping[str, float]) -> str:
    """ "81.2 % step, 9.0 % compile, ..., 0.4 % other", the largest first."""
    whole = max(sum(seconds.values()), 1e-9)
    named = sorted(set(seconds) - {OTHER}, key=lambda kind: -seconds[kind])
    return ", ".join(f"{100 * seconds[kind] / whole:.1f} % {kind}" for kind in [*named, OTHER])


def duration(seconds: float) -> str:
    """ "2 d 3 h", "3 min 20 s": the two largest units."""
    left = round(seconds)
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
