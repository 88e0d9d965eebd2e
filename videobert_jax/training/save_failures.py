"""Why a save fails, what helps, and whether there is room for it."""

import errno
import http
import re
from collections.abc import Sequence
from typing import Any

import jax

from videobert_jax.files import storage
from videobert_jax.training import checkpoint_verification, manifest, processes
from videobert_jax.training.checkpoint_errors import CheckpointError

_SPARE_BYTES = 1 << 20  # beside the values: names, shapes, digests, data position
_ROOM = "free some space there, or lower training.keep_checkpoints"
_MOUNTED = "mount it for writing: mount -o remount,rw"
_RIGHTS = "give the account that trains the right to write there"
_SYSTEM = "see what the system says of it: dmesg | tail"
_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _ROOM),
    errno.EROFS: _MOUNTED,
    **dict.fromkeys((errno.EACCES, errno.EPERM, http.HTTPStatus.FORBIDDEN), _RIGHTS),
    **dict.fromkeys((errno.EIO, errno.ESTALE), _SYSTEM),
}
_NUMBER = re.compile(r"os_error_code='(\d+)'|HTTP response code: (\d+)")  # as tensorstore says them
_BEGINNING, _END = 120, 280  # characters of an error: paths are long, and the cause comes last


class SaveError(CheckpointError):
    """A save that could not be made."""


def needed_bytes(state: Any) -> int:
    """About what a checkpoint of a state takes: its values, whole, and a little beside them."""
    leaves = manifest.named_leaves(state).values()
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves) + _SPARE_BYTES


def require_space(folder: storage.Path, needed: int) -> None:
    """Raises SaveError where the disk of a folder has not so many free bytes; buckets have no
    end."""
    free = storage.free_bytes(folder)
    if free is not None and free < needed:
        raise SaveError(
            f"a checkpoint takes about {_shown(needed)}, and the disk has {_shown(free)} left: "
            f"{_ROOM}"
        )


def explained(error: BaseException) -> str:
    """An error in one line, with the remedy where the cause is known; never empty."""
    text = " ".join(str(error).split())
    if isinstance(error, SaveError):
        return text
    number = getattr(error, "errno", None) or getattr(error, "code", None)
    if found := _NUMBER.search(text):
        number = int(found[1] or found[2])
    elif text.startswith("Forbidden"):  # as gcsfs says it
        number = http.HTTPStatus.FORBIDDEN
    if len(text) > _BEGINNING + _END:
        text = f"{text[:_BEGINNING]} ... {text[-_END:]}"
    remedy = f": {_REMEDIES[number]}" if number in _REMEDIES else ""
    return f"{type(error).__name__}: {text}{remedy}"


def together(causes: Sequence[str]) -> str:
    """What the processes say, in their order, each by its number; "" of one where it did not
    fail."""
    if len(causes) == 1:
        return causes[0]
    return "; ".join(f"process {number}: {cause}" for number, cause in enumerate(causes) if cause)


def of_last(workdir: storage.Path, step: int, cause: str) -> SaveError:
    """What ends a run whose last save failed: the first process reads which checkpoint is left.
    All call it alike."""
    told = ""
    if jax.process_index() == 0:
        newest = checkpoint_verification.newest_verified(workdir)
        told = "none" if newest is None else f"step {newest}"
    processes.wait_for_all("the checkpoint that is left is known")
    told = processes.texts_of_all(told.encode())[0].decode()
    return SaveError(
        f"{workdir}: the last save, of step {step}, failed: {cause}. The newest checkpoint that "
        f"verifies: {told}; start again with the same command to go on from there."
    )


def _shown(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e7 else f"{size / 1e6:.2f} MB"
