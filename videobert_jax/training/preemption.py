"""Whether a run has been asked to stop: SIGTERM, or Ctrl-C once."""

import signal
import sys
import types

import jax
from jax.experimental import multihost_utils


class StopSignal:
    """Context in which SIGTERM and the first Ctrl-C ask the loop to save and stop.

    With several processes, jax's own coordination passes a SIGTERM of any of them to all, so that
    all stop at the same step; its handler must then stay in place. A second Ctrl-C ends the
    process at once.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopSignal":
        if jax.process_count() == 1:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, _: types.FrameType | None) -> None:
        if self.reason is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.reason = signal.Signals(number).name
        print(f"{self.reason} received: saving, then stopping", file=sys.stderr, flush=True)

    def requested(self, step: int) -> bool:
        """Whether to save and stop before `step`; every process asks at every step."""
        if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step):
            self.reason = "SIGTERM of a process"
        return self.reason is not None
