"""Which start of a run may write to its workdir: one at a time.

    WORKDIR/leases/NUMBER.json  one a start of a run, made where there is none of this number yet

A start is refused while the one before it is alive. Of a process on the same machine the system
says whether it is; a start on another one that did not say that it ended is watched for a while.
Where that errs (two starts at the same moment, a machine that was cut off and comes back) the last
start has the workdir: the other finds, before it saves, that it has been followed, and stops.
"""

import dataclasses
import json
import os
import pathlib
import socket
import time
from typing import Any

import jax

from videobert_jax.files import atomic, storage
from videobert_jax.training import metrics, processes
from videobert_jax.training.checkpoint_errors import CheckpointError

LEASES = "leases"
WATCHED_SECONDS = 25.0  # in which a start that lives writes `rewritten` twice
_POLL_SECONDS = 0.5
_PROC = pathlib.Path("/proc")


class LeaseError(CheckpointError):
    """A workdir that another start of the run writes to."""


@dataclasses.dataclass(frozen=True)
class Lease:
    """The right to write to a workdir, until the next start."""

    workdir: storage.Path
    number: int
    holder: dict[str, Any]

    def end(self) -> None:
        """Says that this start writes no more: the next one need not watch it."""
        ended = {**self.holder, "ended": time.strftime("%FT%TZ", time.gmtime())}
        atomic.write_json(_path(self.workdir, self.number), ended)

    def require_last(self) -> None:
        """Raises LeaseError where the run was started once more since."""
        last = _last(self.workdir)
        if last <= self.number:
            return
        holder = _path(self.workdir, last).read_text().strip()
        raise LeaseError(
            f"{self.workdir}: this run was started again while this process was still running, by "
            f"{' '.join(holder.split())}. The last start has the workdir, and this one ends; if "
            "that one failed, start again; to have two runs, give each its own --workdir."
        )


def take(workdir: storage.Path) -> Lease:
    """The lease of a new start, numbered behind all others."""
    storage.make_folder(workdir / LEASES)
    holder = {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "started": time.strftime("%FT%TZ", time.gmtime()),
        **_identity(),
    }
    while True:
        number = _last(workdir) + 1
        try:
            atomic.create_json(_path(workdir, number), holder)
        except FileExistsError:
            continue  # another start was faster, and is the one before this
        return Lease(workdir, number, holder)


def require_free(
    workdir: storage.Path, rewritten: storage.Path, seconds: float = WATCHED_SECONDS
) -> None:
    """Returns as soon as no earlier start of the run is alive. Raises LeaseError, in every process,
    where one still is after so many seconds: one that is about to end is waited for.

    rewritten: a file that a start changes, as long as it lives, twice in so many seconds.
    """
    said = ""
    if jax.process_index() == 0 and (holder := _alive(workdir, rewritten, seconds)) is not None:
        said = (
            f"{workdir}: {_name(holder)} trains here and is alive; two starts cannot write to one "
            "workdir. Stop that one (SIGTERM makes it save), or give this one its own --workdir."
        )
    processes.wait_for_all("nobody else writes to the workdir")
    _raise_alike(said)


def require_last(held: Lease | None) -> None:
    """Raises LeaseError in every process where the run was started once more since. held: what the
    first process has."""
    said = ""
    if held is not None:
        try:
            held.require_last()
        except LeaseError as error:
            said = str(error)
    _raise_alike(said)


def _raise_alike(said: str) -> None:
    """Raises LeaseError in every process where the first one has something to say."""
    if said := processes.texts_of_all(said.encode())[0].decode():
        raise LeaseError(said)


def _alive(workdir: storage.Path, rewritten: storage.Path, seconds: float) -> dict[str, Any] | None:
    """Who started last, if that one is alive and stays so for so many seconds."""
    number, begun = _last(workdir), time.monotonic()
    if number == 0:
        return None
    first, told = _content(rewritten), False
    while True:
        holder = _holder(workdir, number)
        here = _lives_here(holder)
        if "ended" in holder or here is False:
            return None
        if time.monotonic() - begun >= seconds:
            return holder if here or _content(rewritten) != first else None
        if not told:
            told = True
            metrics.show(
                f"{workdir}: {_name(holder)} did not say that it ended; waiting {seconds:.0f} s "
                "for its end or a sign of life"
            )
        time.sleep(_POLL_SECONDS)


def _path(workdir: storage.Path, number: int) -> storage.Path:
    return workdir / LEASES / f"{number}.json"


def _last(workdir: storage.Path) -> int:
    names = [path.stem for path in (workdir / LEASES).glob("*.json")]
    return max((int(name) for name in names if name.isdigit()), default=0)


def _holder(workdir: storage.Path, number: int) -> dict[str, Any]:
    """Who took the lease; nothing of a file that does not say it."""
    try:
        found = json.loads(_content(_path(workdir, number)))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _content(path: storage.Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _name(holder: dict[str, Any]) -> str:
    of = [str(holder.get(key, "unknown")) for key in ("process", "host", "started")]
    return "process {} on {}, started {},".format(*of)


def _identity() -> dict[str, Any]:
    """What tells this process from all others, where Linux says it: the boot of the machine, the
    space that process numbers are of, and when the process began, in ticks since the boot."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return {"machine": f"{boot} {os.readlink(_PROC / 'self/ns/pid')}", "tick": _tick("self")}
    except OSError:
        return {}


def _lives_here(holder: dict[str, Any]) -> bool | None:
    """Whether it is another process of this machine; None where this machine cannot tell."""
    mine = _identity()
    if not mine or holder.get("machine") != mine["machine"]:
        return None
    if holder.get("process") == os.getpid():
        return False  # this one, which begins once more
    tick = _tick(str(holder.get("process")))
    return tick is not None and tick == holder.get("tick")


def _tick(process: str) -> int | None:
    """When a process began; None where there is none, or a dead one that nobody has waited for."""
    if not (process == "self" or process.isdecimal()):
        return None
    try:
        state, *fields = (_PROC / process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else int(fields[18])
