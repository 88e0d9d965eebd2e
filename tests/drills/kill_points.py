"""Named points of a run's life at which a process kills itself by SIGKILL, as the n-th time that it
comes there; for the drill of kills.

A point is a function of the program that is patched in the process that is to die; files are left
as a process leaves them that is killed in the middle of writing, renaming or deleting them.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from orbax.checkpoint.path import atomicity

from tests.drills import everything
from videobert_jax.files import atomic, growing, storage
from videobert_jax.training import (
    checkpoint,
    goodput,
    lease,
    loop,
    metric_writers,
    reporting,
    restoring,
    stages,
)
from videobert_jax.training.run_under_way import RunUnderWay


class Killer:
    """Ends this process when it comes to a point for the n-th time; leaves `mark` behind."""

    def __init__(self, number: int, mark: pathlib.Path) -> None:
        self._left, self._mark, self._lock = number, mark, threading.Lock()

    def comes(self) -> bool:
        """Whether it is the time."""
        with self._lock:
            self._left -= 1
            return self._left == 0

    def dies(self) -> None:
        self._mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
        threading.Event().wait()  # for the signal, so that nothing follows

    def passes(self) -> None:
        if self.comes():
            self.dies()


@dataclasses.dataclass(frozen=True)
class Point:
    """patch: what lets a killer know. by_any: every process comes there, not the first alone.
    times: as often does every run. late: a run that has saved nothing does not come there, or
    comes to its end behind it."""

    patch: Callable[[Killer], contextlib.AbstractContextManager[Any]]
    by_any: bool = False
    times: int = 1
    late: bool = False


def _before(where: Any, name: str) -> Callable[[Killer], Any]:
    def patch(killer: Killer) -> Any:
        function = getattr(where, name)

        def replaced(*arguments: Any, **named: Any) -> Any:
            killer.passes()
            return function(*arguments, **named)

        return mock.patch.object(where, name, replaced)

    return patch


def _after(where: Any, name: str) -> Callable[[Killer], Any]:
    def patch(killer: Killer) -> Any:
        function = getattr(where, name)

        def replaced(*arguments: Any, **named: Any) -> Any:
            result = function(*arguments, **named)
            killer.passes()
            return result

        return mock.patch.object(where, name, replaced)

    return patch


def _writing(pattern: str, *, whole: bool) -> Callable[[Killer], Any]:
    """While a file of this folder and name lies, half or whole, beside its place."""

    def patch(killer: Killer) -> Any:
        function = atomic._written_beside

        @contextlib.contextmanager
        def replaced(path: pathlib.Path, content: bytes) -> Iterator[pathlib.Path]:
            comes = _is(path, pattern) and killer.comes()
            if comes and not whole:
                half = content[: len(content) // 2]
                path.with_name(f".{path.name}.{os.getpid()}.tmp").write_bytes(half)
                killer.dies()
            with function(path, content) as temporary:
                if comes:
                    killer.dies()
                yield temporary

        return mock.patch.object(atomic, "_written_beside", replaced)

    return patch


def _written(name: str, pattern: str) -> Callable[[Killer], Any]:
    """Once a function of `atomic` has put a file of this folder and name into its place."""

    def patch(killer: Killer) -> Any:
        function = getattr(atomic, name)

        def replaced(path: pathlib.Path, *content: Any) -> None:
            function(path, *content)
            if _is(path, pattern):
                killer.passes()

        return mock.patch.object(atomic, name, replaced)

    return patch


def _committing(*, before: bool) -> Callable[[Killer], Any]:
    """Around the renaming by which orbax's folder of a step gets its name."""

    def patch(killer: Killer) -> Any:
        kind = atomicity.AtomicRenameTemporaryPath
        finalize = kind.finalize

        async def replaced(folder: Any) -> None:
            comes = folder.get_final().name.isdigit() and killer.comes()
            if comes and before:
                killer.dies()
            await finalize(folder)
            if comes:
                killer.dies()

        return mock.patch.object(kind, "finalize", replaced)

    return patch


def _half_deleted(killer: Killer) -> Any:
    """When an old step has no manifest any more, and half of its folder."""
    remove = storage.remove

    def replaced(path: pathlib.Path) -> None:
        if _is(path, r"checkpoints/\d+") and killer.comes():
            first = min(child for child in path.iterdir() if child.is_dir())
            shutil.rmtree(first)
            killer.dies()
        remove(path)

    return mock.patch.object(storage, "remove", replaced)


def _half_a_line(killer: Killer) -> Any:
    """When half a line of figures is in the file."""
    write = growing.GrowingFile._write_waiting

    def replaced(lines: growing.GrowingFile, file: Any) -> None:
        named = lines._path.name == metric_writers.METRICS_FILE
        if named and lines._waiting and killer.comes():
            file.write(bytes(lines._waiting[: len(lines._waiting) // 2]))
            killer.dies()
        write(lines, file)

    return mock.patch.object(growing.GrowingFile, "_write_waiting", replaced)


def _is(path: pathlib.Path, pattern: str) -> bool:
    return re.fullmatch(pattern, f"{path.parent.name}/{path.name}") is not None


_MANIFEST = r"manifests/\d+\.json"
POINTS: dict[str, Point] = {
    "tokenizer-half": Point(_writing(r".*/tokenizer\.model", whole=False)),
    "lease-taken": Point(_after(lease, "take")),
    "goodput-half": Point(_writing(r".*/goodput\.json", whole=False)),
    "record-half": Point(_writing(r".*/run\.json", whole=False)),
    "settings-half": Point(_writing(r".*/config\.json", whole=False)),
    "before-compiling": Point(_before(RunUnderWay, "_compiled"), by_any=True),
    "first-step": Point(_after(goodput.Goodput, "taken"), by_any=True),
    "figures-half": Point(_half_a_line, times=30),
    "stage-entered": Point(_after(stages, "carry_over"), by_any=True),
    "evaluated": Point(_before(reporting.Reporter, "evaluated"), by_any=True, times=2),
    "best-half": Point(_writing(r".*/best\.json", whole=False)),
    "best-named": Point(_written("write_bytes", r".*/best\.json")),
    "save-begun": Point(_after(checkpoint.Checkpointer, "_begin"), by_any=True, times=6),
    "hashed": Point(_after(checkpoint.Checkpointer, "_hash"), by_any=True, times=6),
    "arrays-written": Point(_committing(before=True), times=6),
    "committed": Point(_committing(before=False), times=6),
    "manifest-whole": Point(_writing(_MANIFEST, whole=True), times=6),
    "manifest-named": Point(_written("create_json", _MANIFEST), times=6),
    "half-deleted": Point(_half_deleted, times=3),
    "verified": Point(_before(restoring.Restorer, "_restore"), by_any=True, late=True),
    "restored": Point(_after(RunUnderWay, "begin"), by_any=True, late=True),
    "figures-cut": Point(_writing(r".*/metrics\.jsonl", whole=True), late=True),
    "last-manifest": Point(
        _written("create_json", rf"manifests/{everything.NUM_STEPS}\.json"), late=True
    ),
    "ended": Point(_after(loop, "train"), by_any=True, late=True),
}


def killed(value: str) -> contextlib.AbstractContextManager[Any]:
    """The fault of `train_with`: NAME,NUMBER,MARK."""
    name, number, mark = value.split(",")
    return POINTS[name].patch(Killer(int(number), pathlib.Path(mark)))
