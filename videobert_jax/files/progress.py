"""How far something long has come: a line on standard error every few seconds."""

import sys
import time

_SECONDS = 5.0


class Progress:
    """Counts what is done; `total`, where it is known, gives the time left."""

    def __init__(self, things: str, total: float | int | None = None, label: str = ""):
        self._things, self._total = things, total
        self._label = f"{label}: " if label else ""
        self._done = 0.0
        self._start = self._shown = time.monotonic()

    def step(self, count: float | int = 1) -> None:
        """So many more are done."""
        self._done += count
        now = time.monotonic()
        if now - self._shown < _SECONDS:
            return
        self._shown, rate = now, self._done / (now - self._start)
        of, left = "", ""
        if self._total is not None:
            of = f"/{self._total:,.0f}"
            left = f", {max(self._total - self._done, 0) / rate:,.0f} s left"
        text = f"{self._label}{self._done:,.0f}{of} {self._things}, {rate:,.1f} a second{left}"
        print(text, file=sys.stderr, flush=True)
