"""NumPy files from anywhere: nothing runs, and a header that lies about its size is refused
before memory is taken for it."""

import ast
import io
import os
import pathlib
import re
import sys
from typing import Any

import numpy as np

from videobert_jax.files import archives, buffers, pickles
from videobert_jax.files.errors import ArrayFileError, reading

_MAGIC = b"\x93NUMPY"
# NumPy's own bound. Longer ones could exhaust the stack of Python's parser.
_MAX_HEADER = 10_000
_KEYS = {"descr", "fortran_order", "shape"}


def _read_header(file: io.BufferedIOBase) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """(shape, is_fortran_order, dtype, length of the header) of a .npy stream at its start."""
    start = file.read(8)
    if start[:6] != _MAGIC or len(start) < 8:
        raise ArrayFileError(f"begins with {start!r}, not as a .npy file; prepare it anew")
    version = (start[6], start[7])
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ArrayFileError(f".npy version {version[0]}.{version[1]}, expected 1.0 to 3.0")
    width = 2 if version == (1, 0) else 4
    length = int.from_bytes(file.read(width), "little")
    if length > _MAX_HEADER:
        raise ArrayFileError(f"a header of {length} bytes, expected {_MAX_HEADER} or fewer")
    content = file.read(length)
    if len(content) != length:
        raise ArrayFileError("not a whole .npy file: it ends inside its header; fetch it anew")
    text = content.decode("utf-8" if version == (3, 0) else "latin-1")
    # Python 2 wrote some sizes as 3L.
    fields = ast.literal_eval(re.sub(r"(?<=[0-9])L(?=\s*[,)])", "", text))
    if not isinstance(fields, dict) or set(fields) != _KEYS:
        raise ArrayFileError(f"a header of {text!r:.80}, expected {sorted(_KEYS)}")
    buffers.check_shape(fields["shape"])
    dtype = buffers.dtype_of(fields["descr"])
    if type(fields["fortran_order"]) is not bool:
        raise ArrayFileError(f"fortran_order {fields['fortran_order']!r:.40}, expected a boolean")
    if dtype.hasobject and dtype != np.dtype(object):
        raise ArrayFileError("holds pickled objects inside a structured array; expected numbers")
    return fields["shape"], fields["fortran_order"], dtype, 8 + width + length


def _read_objects(file: io.BufferedIOBase, shape: Any, end: int, allowed: bool) -> np.ndarray:
    if not allowed:
        raise ArrayFileError(
            "holds pickled objects, which may run code when read; expected numbers or strings; "
            "save it again without objects, or read it with objects=True, which lets plain values "
            "through and runs nothing"
        )
    array = pickles.load(file, end)
    if not isinstance(array, np.ndarray) or not array.dtype.hasobject or array.shape != shape:
        raise ArrayFileError(f"another value than the objects of shape {shape!r:.80} that it says")
    if file.tell() != end:
        raise ArrayFileError(f"{end - file.tell()} bytes behind its objects")
    return array


def _read_stream(file: io.BufferedIOBase, size: int, objects: bool) -> np.ndarray:
    """Array of a .npy stream of `size` bytes in all."""
    shape, fortran, dtype, start = _read_header(file)
    if dtype.hasobject:
        content = archives.read_all(file, size - start).tobytes()
        return _read_objects(io.BytesIO(content), shape, len(content), objects)
    buffers.element_count(shape, dtype, size - start)
    data = archives.read_all(file, size - start)
    array = buffers.over(data, shape, dtype, fortran=fortran)
    if dtype.kind == "U":
        _check_characters(data, dtype)
    array.flags.writeable = False
    return array


def _check_characters(data: Any, dtype: np.dtype) -> None:
    """Strings of NumPy are numbers of characters, of which Python cannot make any above U+10FFFF;
    it says so by a SystemError."""
    numbers = np.frombuffer(data, np.dtype(np.uint32).newbyteorder(dtype.byteorder))
    if len(numbers) and (most := int(numbers.max())) > sys.maxunicode:
        raise ArrayFileError(f"holds the character {most:#x}, beyond the last there is")


def read_npy(path: str | os.PathLike, *, mapped: bool = False, objects: bool = False) -> np.ndarray:
    """Array of a .npy file, read-only.

    Args:
        path: Of the file, of format version 1.0, 2.0 or 3.0.
        mapped: Leaves the array on disk; what is touched is read.
        objects: Lets an object array through if it holds plain values alone (text, numbers,
            lists, arrays, as `pickles.read_pickle` lists them). It is read whole, and can be
            written to.

    Raises ArrayFileError when it is truncated, too long, or holds Python objects otherwise.
    """
    path = pathlib.Path(path)
    with open(path, "rb") as file, reading(str(path), "a whole .npy file"):
        size = os.fstat(file.fileno()).st_size
        if not mapped:
            return _read_stream(file, size, objects)
        shape, fortran, dtype, start = _read_header(file)
        if dtype.hasobject:
            return _read_objects(file, shape, size, objects)
        if not buffers.element_count(shape, dtype, size - start):
            return np.empty(shape, dtype)
        order = "F" if fortran else "C"
        return np.memmap(path, dtype, "r", offset=start, shape=shape, order=order)


class NpzFile:
    """An open .npz archive: names of its arrays, and one of them at a time.

    A name is a key only, never a path. `open_npz` gives one.

    Attributes:
        names: In the archive's order, without ".npy".
    """

    names: list[str]

    def __init__(self, path: str | os.PathLike, *, max_bytes: int, objects: bool):
        self._name, self._max_bytes, self._objects = str(path), max_bytes, objects
        with reading(self._name, "a whole .npz archive"):
            self._archive = archives.Archive(path)
        self._members = {name.removesuffix(".npy"): name for name in self._archive.names}
        self.names = list(self._members)
        if len(self.names) != len(self._archive.names):
            self.close()
            raise ArrayFileError(f"{path}: two arrays of the same name; prepare it anew")

    def header(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        """(shape, dtype) of an array, which is not read. Raises ArrayFileError."""
        with self._reading(name), self._archive.open(self._member(name)) as file:
            shape, _, dtype, start = _read_header(file)
            if not dtype.hasobject:
                size = self._archive.size(self._member(name)) - start
                buffers.element_count(shape, dtype, size)
            return shape, dtype

    def read(self, name: str) -> np.ndarray:
        """An array, read-only. Raises ArrayFileError as `read_npy` does, and on `max_bytes`."""
        with self._reading(name):
            member = self._member(name)
            self._archive.check_bound([member], self._max_bytes)
            with self._archive.open(member) as file:
                return _read_stream(file, self._archive.size(member), self._objects)

    def check_bound(self) -> None:
        """Raises ArrayFileError where all arrays together unpack to more than `max_bytes`."""
        with reading(self._name, "a .npz archive"):
            self._archive.check_bound(self._archive.names, self._max_bytes)

    def _member(self, name: str) -> str:
        if name not in self._members:
            raise ArrayFileError(
                f"no such array; there are {len(self.names)}: {', '.join(self.names[:8])}"
            )
        return self._members[name]

    def _reading(self, name: str):
        return reading(f"{self._name}[{name}]", "a whole .npy member")

    def close(self) -> None:
        self._archive.close()

    def __enter__(self) -> "NpzFile":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def open_npz(
    path: str | os.PathLike, *, max_bytes: int = archives.MAX_BYTES, objects: bool = False
) -> NpzFile:
    """An open .npz archive, for those too large to be read whole.

    Args:
        path: Of the archive.
        max_bytes: Most that one compressed array may unpack to.
        objects: As `read_npy` takes it.

    Raises ArrayFileError where the archive is damaged.
    """
    return NpzFile(path, max_bytes=max_bytes, objects=objects)


def read_npz(
    path: str | os.PathLike, *, max_bytes: int = archives.MAX_BYTES, objects: bool = False
) -> dict[str, np.ndarray]:
    """Arrays of a .npz file by name, read-only.

    Args:
        path: Of the archive.
        max_bytes: Most that the compressed arrays may unpack to, all together.
        objects: As `read_npy` takes it.

    Raises ArrayFileError as `read_npy` does, on `max_bytes`, and where the archive is damaged.
    """
    with open_npz(path, max_bytes=max_bytes, objects=objects) as archive:
        archive.check_bound()
        return {name: archive.read(name) for name in archive.names}
