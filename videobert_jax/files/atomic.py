"""Writes that leave either the whole new file or the old one, whenever the process ends, or the
machine: what is written is on the disk when they return, its name too."""

import contextlib
import errno
import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from videobert_jax.files import storage

_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_NO_SYNC = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """A file of `content`: written beside `path`, flushed to the disk, then renamed onto it; in a
    bucket one request, since objects are there whole or not at all."""
    path = storage.path(path)
    if isinstance(path, pathlib.Path):
        with _written_beside(path, content) as temporary:
            os.replace(temporary, path)
        _sync_folder(path.parent)
    else:
        path.write_bytes(content)


def write_text(path: str | os.PathLike, text: str) -> None:
    """A UTF-8 file of `text`, atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike, value: Any, *, indent: int | None = 1) -> None:
    """A JSON file of `value`, keys in their order, atomically.

    Raises ValueError on NaN or infinity, which JSON has no word for.
    """
    write_bytes(path, _json_bytes(value, indent))


def write_json_lines(path: pathlib.Path, entries: Sequence[Any]) -> None:
    """A file with a JSON text a line for each entry, atomically; no file, and none of before, where
    there are no entries."""
    if entries:
        lines = [json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries]
        write_text(path, "".join(lines))
    else:
        path.unlink(missing_ok=True)


def create_json(path: storage.Path, value: Any) -> None:
    """A JSON file of `value`, atomically, only where there is none of this name: by a link to a
    whole file, in a bucket by one conditional request.

    Raises FileExistsError where another one is there.
    """
    content = _json_bytes(value, 1)
    try:
        if isinstance(path, pathlib.Path):
            with _written_beside(path, content) as temporary:
                _link(temporary, path)
            _sync_folder(path.parent)
        else:
            storage.create(path, content)
    except FileExistsError:
        if path.read_bytes() != content:  # else ours: the answer was lost, the request made again
            raise


def _json_bytes(value: Any, indent: int | None) -> bytes:
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8")


@contextlib.contextmanager
def _written_beside(path: pathlib.Path, content: bytes) -> Iterator[pathlib.Path]:
    """A file of `content` that is on the disk, in the folder of `path`, and gone afterwards."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: pathlib.Path) -> None:
    """A rename is of the folder, which has a place on the disk of its own; where the system opens
    no folders (Windows), or the file system syncs none, there is nothing to do."""
    try:
        opened = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(opened)


def _link(source: pathlib.Path, target: pathlib.Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if target.exists():  # a mounted bucket, for one, has no links: two steps, not one
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        os.replace(source, target)
