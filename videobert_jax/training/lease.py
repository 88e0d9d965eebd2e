"""Which start of a run may write to its workdir: the last one.

    WORKDIR/leases/NUMBER.json  one a start of a run, made where there is none of this number yet

Nobody waits for a lease to run out: a start after a lost machine goes on at once, and a process
that was thought dead finds, before it saves, that it has been followed, and stops.
"""

import dataclasses
import os
import socket
import time

from videobert_jax.files import atomic, storage
from videobert_jax.training import processes
from videobert_jax.training.checkpoint_errors import CheckpointError

LEASES = "leases"


class LeaseError(CheckpointError):
    """A workdir that a later start of the run writes to."""


@dataclasses.dataclass(frozen=True)
class Lease:
    """The right to write to a workdir, until the next start."""

    workdir: storage.Path
    number: int

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
    }
    while True:
        number = _last(workdir) + 1
        try:
            atomic.create_json(_path(workdir, number), holder)
        except FileExistsError:
            continue  # another start was faster, and is the one before this
        return Lease(workdir, number)


def require_last(held: Lease | None) -> None:
    """Raises LeaseError in every process where the run was started once more since. held: what the
    first process has."""
    said = ""
    if held is not None:
        try:
            held.require_last()
        except LeaseError as error:
            said = str(error)
    if said := processes.texts_of_all(said.encode())[0].decode():
        raise LeaseError(said)


def _path(workdir: storage.Path, number: int) -> storage.Path:
    return workdir / LEASES / f"{number}.json"


def _last(workdir: storage.Path) -> int:
    names = [path.stem for path in (workdir / LEASES).glob("*.json")]
    return max((int(name) for name in names if name.isdigit()), default=0)
