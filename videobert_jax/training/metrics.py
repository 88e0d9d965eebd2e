"""Figures of a run: metrics.jsonl, TensorBoard, and a line of progress."""

import json
import math
import os
import pathlib
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any

from tensorboard.compat.proto import event_pb2 as _event_pb2
from tensorboard.compat.proto import summary_pb2 as _summary_pb2
from tensorboard.summary.writer import record_writer

from videobert_jax.files import atomic

# protobuf makes the messages at import, where no type checker sees them
event_pb2: Any = _event_pb2
summary_pb2: Any = _summary_pb2

METRICS_FILE, TENSORBOARD = "metrics.jsonl", "tensorboard"


class MetricsError(ValueError):
    """A metrics file that cannot be continued."""


class MetricsWriter:
    """Appends figures by step to WORKDIR/metrics.jsonl and WORKDIR/tensorboard.

    TensorBoard's event files are written with its own record writer: its EventFileWriter, like
    every other one, imports TensorFlow where that is installed (3-7 s).
    """

    def __init__(
        self, workdir: pathlib.Path, *, restored_step: int, evaluates_again: bool = False
    ) -> None:
        """Drops lines beyond `restored_step`: those steps are taken, and written, again.

        evaluates_again: so is what evaluators found at that very step.
        """
        self._path = workdir / METRICS_FILE
        _truncate(self._path, restored_step, evaluates_again)
        self._lines = open(self._path, "a", encoding="utf-8")  # noqa: SIM115
        folder = workdir / TENSORBOARD
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():017.6f}.{socket.gethostname()}.{os.getpid()}"
        self._events = record_writer.RecordWriter(open(folder / name, "wb"))  # noqa: SIM115
        self._write_event(file_version="brain.Event:2")
        # tells TensorBoard to forget what an earlier start wrote from this step on
        started = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write_event(step=restored_step + 1, session_log=started)

    def write(self, step: int, figures: Mapping[str, float | None]) -> None:
        """One line and one event; None and figures that are not finite become null."""
        finite = {name: _finite(value) for name, value in figures.items()}
        line = json.dumps({"step": step, **finite}, allow_nan=False)
        self._lines.write(line + "\n")
        self._lines.flush()
        values = [
            summary_pb2.Summary.Value(tag=name, simple_value=value)
            for name, value in finite.items()
            if value is not None
        ]
        self._write_event(step=step, summary=summary_pb2.Summary(value=values))

    def close(self) -> None:
        self._lines.close()
        self._events.close()

    def _write_event(self, **fields: Any) -> None:
        event = event_pb2.Event(wall_time=time.time(), **fields)
        self._events.write(event.SerializeToString())
        self._events.flush()


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _truncate(path: pathlib.Path, step: int, evaluates_again: bool) -> None:
    if not path.exists():
        return
    kept = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            figures = json.loads(line)
            evaluation = evaluates_again and any("/" in name for name in figures)  # TASK/FIGURE
            if figures["step"] > step - evaluation:
                continue
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                continue  # the last line of a killed process may be half
            raise MetricsError(
                f"{path}: line {number} is not a line of figures ({error}): {line[:80]!r}; mend "
                "or move the file, then start again."
            ) from error
        kept.append(line + "\n")
    atomic.write_text(path, "".join(kept))


class Progress:
    """Speeds since the last report, and the line that says them."""

    def __init__(
        self,
        *,
        num_steps: int,
        stage: int | None,
        examples_a_step: int,
        tokens_a_step: int,
        flops_a_step: float | None,
        peak_flops: float | None,
    ) -> None:
        """stage: its number, None where the run has none. peak_flops: of all devices together;
        None where no data sheet is known."""
        self._num_steps, self.stage = num_steps, stage
        self._examples, self._tokens = examples_a_step, tokens_a_step
        self._flops, self._peak = flops_a_step, peak_flops
        self._begun = time.monotonic()
        self._steps = 0
        self._waited = 0.0

    def add_step(self, waited_seconds: float) -> None:
        """Counts a step and the time it waited for data."""
        self._steps += 1
        self._waited += waited_seconds

    def leave_out(self, seconds: float) -> None:
        """Takes time that was not training (an evaluation) out of the speeds."""
        self._begun += seconds

    def speeds(self) -> dict[str, float | None]:
        """Figures since the last call, which then begin anew."""
        now = time.monotonic()
        seconds = max(now - self._begun, 1e-9)
        rate = self._steps / seconds
        mfu = None
        if self._flops is not None and self._peak is not None:
            mfu = rate * self._flops / self._peak
        figures = {
            "examples_per_second": rate * self._examples,
            "tokens_per_second": rate * self._tokens,
            "data_wait_fraction": min(self._waited / seconds, 1.0),
            "seconds_per_step": seconds / self._steps if self._steps else None,
            "mfu": mfu,
        }
        self._begun, self._steps, self._waited = now, 0, 0.0
        return figures

    def line(self, step: int, figures: Mapping[str, float | None]) -> str:
        """ "step 50/1000  stages.1  loss 3.1416  812 examples/s  3 min 20 s left"."""
        parts = [f"step {step}/{self._num_steps}"]
        if self.stage is not None:
            parts.append(f"stages.{self.stage}")
        if (loss := figures.get("loss")) is not None:
            parts.append(f"loss {loss:.4f}")
        if (rate := figures.get("examples_per_second")) is not None:
            parts.append(f"{rate:.0f} examples/s")
        if (mfu := figures.get("mfu")) is not None:
            parts.append(f"mfu {mfu:.1%}")
        if (seconds := figures.get("seconds_per_step")) is not None:
            parts.append(f"{duration((self._num_steps - step) * seconds)} left")
        return "  ".join(parts)


def duration(seconds: float) -> str:
    """ "2 d 3 h", "3 min 20 s": the two largest units."""
    left = round(seconds)
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def show(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stdout, flush=True)
