"""What the wall time of a run goes to: every moment is one thing's, so that all of it adds up."""

import contextlib
import time
from collections.abc import Iterator

# Waiting for a batch; dispatching a step, and waiting for what the one before it found.
DATA, STEP = "data", "step"
START, COMPILE, CHECKPOINT, EVALUATION = "start", "compile", "checkpoint", "evaluation"
PROFILE = "profile"
OTHER = "other"  # what nobody claims
TRAINING = (DATA, STEP, OTHER)  # what speeds are of
KINDS = (START, COMPILE, DATA, STEP, CHECKPOINT, EVALUATION, PROFILE, OTHER)


class WallTime:
    """Seconds by kind since it was made, as one thread spends them."""

    def __init__(self) -> None:
        self.total: dict[str, float] = dict.fromkeys(KINDS, 0.0)
        self._reported = dict(self.total)
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
        return self._kind, time.monotonic() - self._since

    def __str__(self) -> str:
        """ "81.2 % step, 9.0 % compile, ..., 0.4 % other of 3 min 20 s", the largest first."""
        self._switch(self._kind)
        whole = sum(self.total.values())
        named = sorted(set(KINDS) - {OTHER}, key=lambda kind: -self.total[kind])
        shares = ", ".join(
            f"{100 * self.total[kind] / max(whole, 1e-9):.1f} % {kind}" for kind in [*named, OTHER]
        )
        return f"{shares} of {duration(whole)}"

    def _switch(self, kind: str) -> str:
        """Gives the time since the last switch to the kind until now, which it returns."""
        now, before = time.monotonic(), self._kind
        self.total[before] += now - self._since
        self._kind, self._since = kind, now
        return before


def duration(seconds: float) -> str:
    """ "2 d 3 h", "3 min 20 s": the two largest units."""
    left = round(seconds)
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
