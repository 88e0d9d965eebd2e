"""Cases of damaged files in one process: what a reader makes of each, and whether it kept to its
folder. `reader_fuzz` runs them in processes with limits."""

import contextlib
import dataclasses
import os
import pathlib
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

from tests.drills import mutations
from tests.drills.readers import Reader

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_COMMANDS = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "pickle.find_class")
_CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod")
_LISTS = ("video.corpus",)  # whose files name other files


@dataclasses.dataclass(frozen=True)
class Fault:
    """A case that went as none may. kind: error (another than documented), unnamed (the error says
    no file), memory, executed, outside; by the process that watches also crash and time."""

    reader: str
    seed: int
    case: int
    kind: str
    detail: str


@dataclasses.dataclass
class Outcome:
    """Of some cases: how many were read, how many refused, what went wrong, the slowest."""

    read: int = 0
    refused: int = 0
    slowest: float = 0.0
    faults: list[Fault] = dataclasses.field(default_factory=list)

    def add(self, other: "Outcome") -> None:
        self.read += other.read
        self.refused += other.refused
        self.slowest = max(self.slowest, other.slowest)
        self.faults += other.faults


class Watch:
    """What Python tells of files that are opened and programs that are started; for good, for a
    hook cannot be taken away again."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._root: str | None = None
        self._reader: Reader | None = None
        sys.addaudithook(self._see)

    @contextlib.contextmanager
    def over(self, reader: Reader, root: pathlib.Path) -> Iterator[list[str]]:
        """What a reader did that it must not, of all that happens inside."""
        self.seen, self._reader, self._root = [], reader, str(root)
        try:
            yield self.seen
        finally:
            self._reader = None

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        reader, root = self._reader, self._root
        if reader is None or root is None:
            return
        if event in _COMMANDS:
            # HDF5 files are read by a process of their own, on purpose
            if not (event == "subprocess.Popen" and "hdf5" in reader.name):
                self.seen.append(f"{event}{arguments!r:.120}")
        elif event == "open" and isinstance(arguments[0], str | bytes):
            path = os.path.abspath(os.fsdecode(arguments[0]))
            writes = bool(arguments[2] & _WRITING)
            inside = path.startswith(root + os.sep)
            if writes and not (inside and reader.writes) and path != os.devnull:
                self.seen.append(f"opened for writing: {path}")
            elif path.endswith((mutations.OUTSIDE, "/etc/hostname")) and not set(_LISTS) & set(
                reader.modules
            ):
                self.seen.append(f"opened for reading: {path}")
        elif event in _CHANGES and not reader.writes:
            self.seen.append(f"{event}{arguments!r:.120}")


class Bench:
    """A reader's seed in a folder of its own, and cases of damage to it."""

    def __init__(self, reader: Reader, root: pathlib.Path, seed: int, watch: Watch | None = None):
        """Raises what the reader does where it cannot read its own seed: then nothing is shown."""
        self.reader, self.root, self.seed, self._watch = reader, root.resolve(), seed, watch
        self.folder = self.root / "case"
        self.folder.mkdir(parents=True)
        (self.root / mutations.OUTSIDE).write_text("nothing may read this\n")
        reader.make(self.folder)
        self._whole = {
            path.relative_to(self.folder): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }
        self._names = [
            path
            for path, content in self._whole.items()
            if content and not any(part in str(path) for part in reader.kept)
        ]
        for _ in range(2):  # twice, so that what is kept of the first time is there
            reader.read(self.folder)
            self._clear()
        self._listed = self._listing()

    def damage(self, case: int) -> list[pathlib.Path]:
        """Puts the damaged files of a case in place of the seed's; their paths."""
        draw = random.Random(f"{self.seed} {self.reader.name} {case}")
        chosen = draw.sample(self._names, min(len(self._names), draw.choice((1, 1, 1, 2))))
        for name in chosen:
            content = mutations.damaged(name.name, self._whole[name], draw)
            (self.folder / name).write_bytes(content)
        if self.reader.sign is not None and draw.random() < 0.7:
            with contextlib.suppress(
                ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError
            ):
                self.reader.sign(self.folder, draw)
        return chosen

    def run(self, case: int, limit: bool = False) -> Outcome:
        """What becomes of a case. limit: ends the process where it takes too long, and measures the
        memory that it takes where the limits of a process do not bound it."""
        self.damage(case)
        if limit:
            signal.setitimer(signal.ITIMER_REAL, self.reader.seconds)
        measured = limit and self.reader.refuses_sizes
        begun, before = time.monotonic(), _most_held() if measured else 0
        outcome = self._read(case)
        outcome.slowest = round(time.monotonic() - begun, 3)
        if measured:
            taken = (_most_held(anew=False) - before) >> 10
            if taken > self.reader.megabytes:
                detail = f"{taken} MB were taken"
                outcome.faults.append(Fault(self.reader.name, self.seed, case, "memory", detail))
        if limit:
            signal.setitimer(signal.ITIMER_REAL, 0)
        self._restore(case, outcome)
        return outcome

    def _read(self, case: int) -> Outcome:
        outcome, reader = Outcome(), self.reader

        def fault(kind: str, detail: str) -> None:
            outcome.faults.append(Fault(reader.name, self.seed, case, kind, detail[:300]))

        watch = contextlib.nullcontext([])
        if self._watch is not None:
            watch = self._watch.over(reader, self.root)
        with watch as seen:
            try:
                reader.read(self.folder)
                outcome.read += 1
            except reader.errors as error:
                outcome.refused += 1
                ran_out = any(isinstance(one, MemoryError) for one in _chain(error))
                if ran_out and not reader.refuses_sizes:
                    fault("memory", f"{error}")
                elif not self._names_something(str(error)):
                    fault("unnamed", f"{type(error).__name__}: {error}")
            except MemoryError as error:
                fault("memory", f"{error}")
            except Exception as error:
                fault("error", f"{type(error).__name__}: {error} ({_place(error)})")
        if seen:
            fault("executed", "; ".join(seen[:3]))
        return outcome

    def _names_something(self, message: str) -> bool:
        """Whether an error says which file or folder it is of."""
        names = [*(name.name for name in self._whole), *self.reader.named]
        return str(self.folder) in message or any(name in message for name in names)

    def _restore(self, case: int, outcome: Outcome) -> None:
        """The seed as it was; a fault where something else is there."""
        found = self._listing()
        if not self.reader.writes and found != self._listed:
            detail = f"files that were not there, or gone: {sorted(found ^ self._listed)[:5]}"
            outcome.faults.append(Fault(self.reader.name, self.seed, case, "outside", detail))
        for path in found - self._listed:
            if (self.root / path).is_file():
                (self.root / path).unlink()
        self._clear()
        for name, content in self._whole.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def _clear(self) -> None:
        shutil.rmtree(self.root / "written", ignore_errors=True)

    def _listing(self) -> set[str]:
        return {
            os.path.join(folder, name)
            for folder, _, names in os.walk(self.root)
            if not folder.startswith(str(self.root / "written"))
            for name in names
        }


def _most_held(anew: bool = True) -> int:
    """Kilobytes of memory that this process has held at most, since now where it begins anew."""
    if anew:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")  # proc(5): the peak of resident memory becomes what there is
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))


def limit_memory(megabytes: int) -> None:
    """Lets this process take so much more than it has."""
    with open("/proc/self/statm", encoding="ascii") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (megabytes << 20), most))


def unlimit_memory() -> None:
    """Lets this process take what it asks for."""
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _chain(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def _place(error: BaseException) -> str:
    """File and line at which an error was raised, the last of ours first."""
    places, trace = [], error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if "videobert_jax" in name:
            places.append(f"{name.rpartition('videobert_jax/')[2]}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " < ".join(reversed(places[-2:])) or "outside the package"
