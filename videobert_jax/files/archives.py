"""Zip archives of arrays, whose members' sizes are checked before any is unpacked."""

import io
import os
import zipfile
from typing import cast

import numpy as np

from videobert_jax.files.errors import ArrayFileError

# What compressed members may unpack to unless the caller says otherwise. Members that are stored
# as they are need no bound: they are not larger than the archive.
MAX_BYTES = 4 << 30
# Deflate cannot make more than 1032 bytes of one (zlib's technical notes).
_DEFLATE_RATIO = 1032
_PIECE = 1 << 20


class Archive:
    """An open zip archive; members by name. A name is a key only, never a path.

    Raises ArrayFileError (or what `errors.DAMAGE` lists) where the archive's table of contents
    contradicts itself: members larger than their bytes can unpack to, or twice the same name.
    """

    def __init__(self, path: str | os.PathLike):
        self._zip = zipfile.ZipFile(path)
        try:
            self._members = self._checked(os.stat(path).st_size)
        except BaseException:
            self._zip.close()
            raise

    def _checked(self, file_bytes: int) -> dict[str, zipfile.ZipInfo]:
        members, stored = {}, 0
        for info in self._zip.infolist():
            if info.filename in members:
                raise ArrayFileError(f"two members of the name {info.filename!r:.200}")
            if info.flag_bits & 1:
                raise ArrayFileError(f"an encrypted member, {info.filename!r:.200}")
            if info.compress_type == zipfile.ZIP_STORED:
                most = info.compress_size
                stored += info.compress_size
            elif info.compress_type == zipfile.ZIP_DEFLATED:
                most = _DEFLATE_RATIO * (info.compress_size + 1)
            else:
                raise ArrayFileError(
                    f"{info.filename!r:.200} is compressed by method {info.compress_type}; "
                    "expected none or deflate"
                )
            if info.file_size > most:
                raise ArrayFileError(
                    f"{info.filename!r:.200} claims {info.file_size} bytes, but is stored in "
                    f"{info.compress_size}; the file is damaged: fetch or prepare it anew"
                )
            members[info.filename] = info
        if stored > file_bytes:
            raise ArrayFileError(
                f"members of {stored} bytes in a file of {file_bytes}; the file is damaged"
            )
        return members

    @property
    def names(self) -> list[str]:
        """Names of the members, in the archive's order."""
        return list(self._members)

    def size(self, name: str) -> int:
        """Bytes of a member once it is unpacked, as the archive declares them."""
        return self._member(name).file_size

    def check_bound(self, names: list[str], max_bytes: int) -> None:
        """Raises ArrayFileError where the compressed ones of these unpack to more than this."""
        members = [self._member(name) for name in names]
        compressed = [m for m in members if m.compress_type != zipfile.ZIP_STORED]
        total = sum(member.file_size for member in compressed)
        if total > max_bytes:
            raise ArrayFileError(
                f"unpacks from {sum(m.compress_size for m in compressed)} to {total} bytes, more "
                f"than max_bytes={max_bytes}; read its members one by one, or allow more if you "
                "trust the file"
            )

    def open(self, name: str) -> io.BufferedIOBase:
        """A member's content as a stream of bytes."""
        return cast(io.BufferedIOBase, self._zip.open(self._member(name)))

    def _member(self, name: str) -> zipfile.ZipInfo:
        if name not in self._members:
            raise ArrayFileError(f"no member {name!r:.200} in the archive")
        return self._members[name]

    def close(self) -> None:
        self._zip.close()

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def fill(file: io.BufferedIOBase, data: np.ndarray) -> None:
    """Bytes of a stream into `data` (uint8), which they must fill.

    Read in pieces: a stream that unpacks to more than was declared is never unpacked further.
    Raises ArrayFileError where it ends early.
    """
    view, done = data.data, 0
    while done < len(view):
        count = file.readinto(view[done : done + _PIECE])  # type: ignore[attr-defined]
        if not count:
            raise ArrayFileError(f"{done} bytes where {len(view)} were declared; it is cut off")
        done += count


def read_all(file: io.BufferedIOBase, size: int) -> np.ndarray:
    """The `size` bytes of a stream, which must hold just as many. Raises ArrayFileError if not."""
    data = np.empty(size, np.uint8)
    fill(file, data)
    if file.read(1):
        raise ArrayFileError(f"more than the {size} bytes that were declared")
    return data
