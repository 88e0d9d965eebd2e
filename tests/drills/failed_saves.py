"""Saves fail, on a disk and in an emulated bucket: training must go on, the next save must work,
and nothing may be left of the one that failed.

    python -m tests.drills.failed_saves [--cases N] [--places disk,bucket] [--seed N] [--shard I/N]
        [--results FILE] [--without-removal]

On the disk a call that changes files below the workdir fails, the first, the second, and so on
(`faulty_files.c`, which needs a C compiler): from there on with "no space left" or "read-only file
system", or once with "input/output error". In the bucket a request that writes is refused, once or
from there on. The fault ends when the save has; then another save follows. A case is a line of the
results file at once, and one that passed with this code is not run again. With --without-removal
nothing is removed after a failure: then cases must fail, which shows that the drill bites.
"""

import argparse
import contextlib
import ctypes
import dataclasses
import errno
import http
import io
import logging
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol
from unittest import mock

import jax
import numpy as np

from tests.drills import campaign
from tests.training.test_checkpoint import DATA_STATE, equal, state_on, structs_of
from videobert_jax.cli import failures
from videobert_jax.files import storage
from videobert_jax.training import checkpoint, checkpoint_folder, checkpoint_verification

LIBRARY = "FAULTY_FILES"  # variable that names the compiled library in the process that has it
_SOURCE = pathlib.Path(__file__).with_name("faulty_files.c")
_KEPT = "checkpoints/notes.txt"  # which no run made
_ENDING_SECONDS = 20.0
_SERVING = ("Thread-", "fsspecIO")  # of the emulated bucket and of its client
# Of each fault: (error, whether it lasts). A bucket's are answers.
FAULTS = {
    "disk": {
        "full": (errno.ENOSPC, True),
        "read-only": (errno.EROFS, True),
        "input/output": (errno.EIO, False),
    },
    "bucket": {
        "closed": (http.HTTPStatus.FORBIDDEN, True),
        "refused": (http.HTTPStatus.BAD_REQUEST, False),
    },
}


class Place(Protocol):
    """Where saves can be made to fail, by the number of the call that does."""

    failed: int

    def folder(self, name: str) -> storage.Path: ...

    def arm(self, folder: storage.Path, number: int, error: int, lasting: bool) -> None: ...

    def disarm(self) -> int:
        """Ends the fault; how many calls there were."""
        ...


class Disk:
    """Files whose calls fail."""

    def __init__(self, root: pathlib.Path) -> None:
        self._root, self.failed = root, 0
        self._library = ctypes.CDLL(os.environ[LIBRARY])

    def folder(self, name: str) -> storage.Path:
        path = self._root / name
        path.mkdir()
        return path

    def arm(self, folder: storage.Path, number: int, error: int, lasting: bool) -> None:
        self._library.faults_arm(os.fspath(folder).encode(), number, error, int(lasting))

    def disarm(self) -> int:
        calls, self.failed = self._library.faults_calls(), self._library.faults_failed()
        self._library.faults_arm(b"", 0, 0, 0)
        return calls


class Bucket:
    """An emulated bucket that refuses requests that write."""

    def __init__(self) -> None:
        self.failed = self._calls = self._number = self._error = 0
        self._lasting, self._lock = False, threading.Lock()

    @contextlib.contextmanager
    def opened(self) -> Iterator["Bucket"]:
        from gcp_storage_emulator import server

        from tests import buckets

        with buckets.emulated() as port:
            handle = server.Router.handle

            def refusing(router: Any, method: str) -> None:
                if method != "GET" and self._refuses():
                    buckets.refuse(router._request_handler, self._error)
                else:
                    handle(router, method)

            with (
                mock.patch.dict(os.environ, buckets.environment(port)),
                mock.patch.object(server.Router, "handle", refusing),
            ):
                yield self

    def _refuses(self) -> bool:
        with self._lock:
            self._calls += 1
            late = self._calls >= self._number if self._lasting else self._calls == self._number
            refused = self._number > 0 and late
            self.failed += refused
            return refused

    def folder(self, name: str) -> storage.Path:
        from tests import buckets

        return storage.path(f"gs://{buckets.BUCKET}/{name}")

    def arm(self, folder: storage.Path, number: int, error: int, lasting: bool) -> None:
        with self._lock:
            self._calls = self.failed = 0
            self._number, self._error, self._lasting = number, error, lasting

    def disarm(self) -> int:
        with self._lock:
            self._number = 0
            return self._calls


@dataclasses.dataclass
class Drill:
    """Cases in one place."""

    place: Place
    removes: bool = True

    def __post_init__(self) -> None:
        mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]).reshape(1, 2), ("data", "fsdp"))
        self.states = {step: state_on(mesh, step) for step in (1, 2, 3)}
        self.calls = self._run("count", 0, 0, False)["calls"]

    def case(self, name: str, fault: str, error: int, lasting: bool, number: int) -> dict[str, Any]:
        """What came of a save whose call of this number failed."""
        begun = time.monotonic()
        try:
            found = self._run(name, number, error, lasting)
        except Exception as failure:
            self.place.disarm()
            text = " ".join(str(failure).split())[:200]
            found = {"problems": [f"the run would have ended: {type(failure).__name__}: {text}"]}
        seconds = round(time.monotonic() - begun, 2)
        passed = not found["problems"]
        return {"fault": fault, "number": number, **found, "passed": passed, "seconds": seconds}

    def _run(self, name: str, number: int, error: int, lasting: bool) -> dict[str, Any]:
        workdir, said = self.place.folder(name), io.StringIO()
        storage.make_folder((workdir / _KEPT).parent)
        (workdir / _KEPT).write_text("somebody's")
        before = set(threading.enumerate())
        with contextlib.redirect_stderr(said), self._removal():
            checkpointer = checkpoint.Checkpointer(workdir, keep=3, config_sha256="c")
            self._save(checkpointer, 1)
            self.place.arm(workdir, number, error, lasting)
            self._save(checkpointer, 2)
            calls = self.place.disarm()
            saved = checkpointer.newest == 2
            # while it lasted; where one call failed, others may have been under way yet
            removable = error == errno.ENOSPC
            left = self._left(workdir, [1, 2] if saved else [1]) if removable else []
            self._save(checkpointer, 3)
            checkpointer.close()
        steps = [1, 2, 3] if saved else [1, 3]
        problems = [*left, *self._problems(workdir, steps)]
        if (checkpointer.failed_saves, "SAVE FAILED" in said.getvalue()) != (not saved, not saved):
            problems.append("failures are not counted and said")
        if left := _threads_beside(before):
            problems.append(f"threads are left: {', '.join(left)}")
        line = next((line for line in said.getvalue().splitlines() if "SAVE FAILED" in line), "")
        return {
            "calls": calls,
            "failed_calls": self.place.failed,
            "saved": saved,
            "said": line,
            "problems": problems,
        }

    def _save(self, checkpointer: checkpoint.Checkpointer, step: int) -> None:
        checkpointer.save(step, self.states[step], {**DATA_STATE, "step": step})
        checkpointer.wait()

    def _problems(self, workdir: storage.Path, steps: Sequence[int]) -> list[str]:
        """What is otherwise than after saves of these steps."""
        problems = [
            f"step {step}: {found[0]}"
            for step, found in checkpoint_verification.verify_steps(workdir).items()
            if found
        ]
        if checkpoint_folder.manifest_steps(workdir) != list(steps):
            problems.append(f"the steps are {checkpoint_folder.manifest_steps(workdir)}")
        problems += self._left(workdir, steps)
        if (workdir / _KEPT).read_text() != "somebody's":
            problems.append(f"{_KEPT} was changed")
        restorer = checkpoint.Checkpointer(workdir, keep=3, config_sha256="c")
        restored = restorer.restore_latest(lambda step: structs_of(self.states[3]))
        if restored is None or restored.step != 3 or not equal(restored.state, self.states[3]):
            problems.append("the next start would not go on from the newest save")
        restorer.close()
        return problems

    def _left(self, workdir: storage.Path, steps: Sequence[int]) -> list[str]:
        """What lies beside these steps and should not."""
        expected = {
            checkpoint_folder.CHECKPOINTS: {*map(str, steps), pathlib.PurePath(_KEPT).name},
            checkpoint_folder.MANIFESTS: {
                f"{step}.{ending}" for step in steps for ending in ("json", "begun")
            },
        }
        return [
            f"{folder}/{name} is left"
            for folder, names in expected.items()
            for name in sorted({path.name for path in (workdir / folder).glob("*")} - names)
        ]

    def _removal(self) -> contextlib.AbstractContextManager[Any]:
        if self.removes:
            return contextlib.nullcontext()
        return mock.patch.object(checkpoint_folder, "remove_unsaved", lambda *_: None)


def _threads_beside(before: set[threading.Thread]) -> list[str]:
    """Names of the threads that there are besides, once those that are ending have ended."""
    deadline = time.monotonic() + _ENDING_SECONDS
    while True:
        left = [each.name for each in threading.enumerate() if each not in before]
        left = [name for name in left if not name.startswith(_SERVING)]
        if not left or time.monotonic() > deadline:
            return sorted(left)
        time.sleep(0.05)


def cases_of(drill: Drill, place: str, count: int) -> Iterator[tuple[str, int, bool, int]]:
    """(fault, error, whether it lasts, number of the call), spread evenly over all calls."""
    faults = list(FAULTS[place].items())
    each = -(-count // len(faults))
    for i in range(count):
        fault, (error, lasting) = faults[i % len(faults)]
        yield (
            fault,
            int(error),
            lasting,
            1 + (2 * (i // len(faults)) + 1) * drill.calls // (2 * each),
        )


def main() -> int:
    """0 where every case did as it must, 1 where one did not."""
    parser = campaign.parser(
        __doc__,
        "failed_saves.jsonl",
        seed_of="the order of the cases",
        guard="removal",
        without="what is left stays",
    )
    parser.add_argument("--cases", type=int, default=60, help="three of four on the disk")
    parser.add_argument("--places", default="disk,bucket")
    arguments = parser.parse_args()
    places = arguments.places.split(",")
    if "disk" in places and LIBRARY not in os.environ:
        return _again_with_library()
    logging.getLogger("absl").setLevel(logging.CRITICAL + 1)  # orbax's tracebacks
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 2)
    counts = {"disk": arguments.cases, "bucket": 0}
    if "bucket" in places:
        counts["bucket"] = arguments.cases // 4 if "disk" in places else arguments.cases
        counts["disk"] -= counts["bucket"]
    failed, total, begun = [], 0, time.monotonic()
    for place in places:
        done, wrong = _cases(place, counts[place], arguments)
        total += done
        failed += wrong
    seconds = time.monotonic() - begun
    print(f"{total} cases: {len(failed)} not as they must ({seconds:.0f} s)")
    return 1 if failed else 0


def _cases(place: str, count: int, arguments: argparse.Namespace) -> tuple[int, list[str]]:
    """How many cases there were in a place, and which were not as they must."""
    removes, failed = not arguments.without_removal, []
    about = {"seed": arguments.seed, "removes": removes, "place": place}
    results = campaign.Results(arguments.results, about)
    done = results.passed() if removes else {}
    with (
        tempfile.TemporaryDirectory(prefix="failed_saves_") as name,
        contextlib.ExitStack() as stack,
    ):
        opened = Disk(pathlib.Path(name)) if place == "disk" else None
        drill = Drill(opened or stack.enter_context(Bucket().opened()), removes)
        cases = list(enumerate(cases_of(drill, place, count)))
        random.Random(arguments.seed).shuffle(cases)
        chosen = cases[arguments.shard]
        for number, (fault, error, lasting, call) in chosen:
            found = done.get(number)
            if found is None:
                made = drill.case(f"case_{number}", fault, error, lasting, call)
                found = results.note(case=number, **made)
            if not found["passed"]:
                failed.append(f"{place}, {fault} at call {call}: {'; '.join(found['problems'])}")
                print(f"case {number}: {failed[-1]}", flush=True)
        return len(chosen), failed


def _again_with_library() -> int:
    """This command in a process that has the library that makes calls fail."""
    compiler = shutil.which("cc")
    if compiler is None:
        print("there is no C compiler (cc): install one, or say --places=bucket", file=sys.stderr)
        return failures.BAD_INPUT
    with tempfile.TemporaryDirectory(prefix="faulty_files_") as name:
        library = f"{name}/faulty_files.so"
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-O1", "-o", library, str(_SOURCE), "-ldl"], check=True
        )
        environment = {**os.environ, "LD_PRELOAD": library, LIBRARY: library}
        command = [sys.executable, "-m", "tests.drills.failed_saves", *sys.argv[1:]]
        return subprocess.run(command, env=environment).returncode


if __name__ == "__main__":
    sys.exit(failures.exit_code(main))
