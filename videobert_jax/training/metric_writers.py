"""Where a run's figures go, behind one interface: metrics.jsonl, TensorBoard, Weights & Biases."""

import json
import math
import os
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from tensorboard.compat.proto import event_pb2 as _event_pb2
from tensorboard.compat.proto import summary_pb2 as _summary_pb2
from tensorboard.summary.writer import record_writer

from videobert_jax.files import atomic, extras, storage
from videobert_jax.files.growing import GrowingFile

# protobuf makes the messages at import, where no type checker sees them
event_pb2: Any = _event_pb2
summary_pb2: Any = _summary_pb2

METRICS_FILE, TENSORBOARD, WANDB_FILE = "metrics.jsonl", "tensorboard", "wandb.json"


class MetricsError(ValueError):
    """A metrics file that cannot be continued."""


@runtime_checkable
class MetricWriter(Protocol):
    """Takes figures by step: finite numbers, or None for what is not."""

    def write(self, step: int, figures: Mapping[str, float | None]) -> None: ...

    def sync(self) -> None:
        """Returns once all that was written is in the workdir, in a bucket too."""
        ...

    def close(self) -> None: ...


def require(wandb_project: str) -> None:
    """Raises MissingExtra where a writer's package is not installed."""
    if wandb_project:
        extras.require("wandb", "wandb")


def open_writers(
    workdir: storage.Path,
    *,
    restored_step: int,
    evaluates_again: bool = False,
    wandb_project: str = "",
    config: Mapping[str, Any] | None = None,
    before_upload: Callable[[], None] = lambda: None,
) -> MetricWriter:
    """All writers of a run as one; figures that are not finite reach them as None.

    Each goes on where an earlier start of the run left off, and takes what it wrote beyond
    `restored_step` for unsaid: those steps are taken, and written, again. evaluates_again: so is
    what evaluators found at that very step. config: the settings, for those who show them.
    before_upload: called before each upload to a bucket, which is not made where it raises. Raises
    MetricsError, MissingExtra.
    """
    writers: list[MetricWriter] = [
        _LinesWriter(workdir, restored_step, evaluates_again, before_upload),
        _TensorBoardWriter(workdir, restored_step, before_upload),
    ]
    if wandb_project:
        writers.append(_WandbWriter(workdir, wandb_project, config or {}))
    return _Writers(writers)


def evaluated_at(workdir: storage.Path, step: int) -> set[str]:
    """Names of the evaluators whose figures of this step are in the workdir."""
    path, found = workdir / METRICS_FILE, set()
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for line in lines:
        try:
            figures = json.loads(line)
        except ValueError:
            continue  # half a line of a killed process; `_truncate` complains about any other
        if figures.get("step") == step:
            found |= {name.partition("/")[0] for name in figures if "/" in name}
    return found


class _Writers:
    """Several writers as one."""

    def __init__(self, writers: Sequence[MetricWriter]) -> None:
        self._writers = writers

    def write(self, step: int, figures: Mapping[str, float | None]) -> None:
        finite = {name: _finite(value) for name, value in figures.items()}
        for writer in self._writers:
            writer.write(step, finite)

    def sync(self) -> None:
        for writer in self._writers:
            writer.sync()

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


class _LinesWriter:
    """A JSON object a line, appended to WORKDIR/metrics.jsonl."""

    def __init__(
        self,
        workdir: storage.Path,
        restored_step: int,
        evaluates_again: bool,
        before_upload: Callable[[], None],
    ) -> None:
        path = workdir / METRICS_FILE
        _truncate(path, restored_step, evaluates_again)
        self._lines = GrowingFile(path, before_upload)

    def write(self, step: int, figures: Mapping[str, float | None]) -> None:
        line = json.dumps({"step": step, **figures}, allow_nan=False) + "\n"
        self._lines.write(line.encode())
        self._lines.flush()

    def sync(self) -> None:
        self._lines.sync()

    def close(self) -> None:
        self._lines.close()


def _truncate(path: storage.Path, step: int, evaluates_again: bool) -> None:
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


class _TensorBoardWriter:
    """Event files in WORKDIR/tensorboard, by TensorBoard's own record writer: its EventFileWriter,
    like every other one, imports TensorFlow where that is installed (3-7 s)."""

    def __init__(
        self,
        workdir: storage.Path,
        restored_step: int,
        before_upload: Callable[[], None],
    ) -> None:
        folder = workdir / TENSORBOARD
        storage.make_folder(folder)
        name = f"events.out.tfevents.{time.time():017.6f}.{socket.gethostname()}.{os.getpid()}"
        self._file = GrowingFile(folder / name, before_upload)
        self._events = record_writer.RecordWriter(self._file)
        self._write_event(file_version="brain.Event:2")
        # tells TensorBoard to forget what an earlier start wrote from this step on
        started = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write_event(step=restored_step + 1, session_log=started)

    def write(self, step: int, figures: Mapping[str, float | None]) -> None:
        values = [
            summary_pb2.Summary.Value(tag=name, simple_value=value)
            for name, value in figures.items()
            if value is not None
        ]
        self._write_event(step=step, summary=summary_pb2.Summary(value=values))

    def sync(self) -> None:
        self._file.sync()

    def close(self) -> None:
        self._events.close()

    def _write_event(self, **fields: Any) -> None:
        event = event_pb2.Event(wall_time=time.time(), **fields)
        self._events.write(event.SerializeToString())
        self._events.flush()


class _WandbWriter:
    """A run of Weights & Biases, the same one at every start: WORKDIR/wandb.json has its id.

    Where it goes, and whether it is sent at all, is what wandb itself reads: WANDB_ENTITY,
    WANDB_MODE=offline, WANDB_API_KEY.
    """

    def __init__(self, workdir: storage.Path, project: str, config: Mapping[str, Any]) -> None:
        wandb: Any = extras.require("wandb", "wandb")
        self._run = wandb.init(
            project=project,
            id=_wandb_id(workdir / WANDB_FILE, project),
            resume="allow",
            name=config.get("name"),
            config=dict(config),
            dir=tempfile.gettempdir() if storage.is_remote(workdir) else str(workdir),
        )
        # By a figure of its own, since wandb drops what has a step behind one that it has had:
        # a resumed run takes steps again.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def write(self, step: int, figures: Mapping[str, float | None]) -> None:
        known = {name: value for name, value in figures.items() if value is not None}
        self._run.log({"step": step, **known})

    def sync(self) -> None:
        """Nothing to do: what wandb has not sent yet it sends when it can."""

    def close(self) -> None:
        self._run.finish()


def _wandb_id(path: storage.Path, project: str) -> str:
    """The id of the workdir's run in this project, made at its first start."""
    ids: dict[str, str] = {}
    if path.is_file():
        try:
            ids = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise MetricsError(
                f"{path}: not the ids of this run's projects ({error}); delete it to begin a new "
                "run of Weights & Biases."
            ) from error
    if project not in ids:
        ids[project] = uuid.uuid4().hex[:8]
        atomic.write_json(path, ids)
    return ids[project]
