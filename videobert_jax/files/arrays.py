"""NumPy files from anywhere: nothing is unpickled, and a header that lies about its size is
refused before memory is taken for it."""

import math
import os
import pathlib
import tokenize
import zipfile
import zlib
from typing import IO

import numpy as np

from videobert_jax.files.errors import ArrayFileError


def _read_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """(shape, is_fortran_order, dtype, length of the header) of a .npy stream at its start."""
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            header = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            header = np.lib.format.read_array_header_2_0(file)
        else:
            raise ArrayFileError(f"{name}: .npy version {version}, expected 1.0 or 2.0")
    except ArrayFileError:
        raise
    except (ValueError, EOFError, SyntaxError, TypeError, tokenize.TokenError) as error:
        raise ArrayFileError(
            f"{name}: not a whole .npy file ({error}); fetch or prepare it anew"
        ) from error
    shape, fortran, dtype = header
    if dtype.hasobject:
        raise ArrayFileError(
            f"{name}: holds pickled objects, which may run code when read; expected numbers or "
            "strings; save it again without objects"
        )
    return shape, fortran, dtype, file.tell()


def _check_size(name: str, shape: tuple[int, ...], dtype: np.dtype, found: int) -> None:
    expected = math.prod(shape) * dtype.itemsize
    if found != expected or min(shape, default=0) < 0:
        raise ArrayFileError(
            f"{name}: {found} bytes of data, but its header says {list(shape)} of {dtype}, "
            f"which are {expected}; the file is damaged: fetch or prepare it anew"
        )


def _from_bytes(data: bytes, shape: tuple[int, ...], fortran: bool, dtype: np.dtype) -> np.ndarray:
    flat = np.frombuffer(data, dtype)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def read_npy(path: str | os.PathLike, *, mapped: bool = False) -> np.ndarray:
    """Array of a .npy file, read-only; `mapped` leaves it on disk and reads what is touched.

    Raises ArrayFileError when it is truncated, too long, or holds Python objects.
    """
    path = pathlib.Path(path)
    with open(path, "rb") as file:
        shape, fortran, dtype, start = _read_header(file, str(path))
        _check_size(str(path), shape, dtype, path.stat().st_size - start)
        if mapped and math.prod(shape) > 0:
            order = "F" if fortran else "C"
            return np.memmap(path, dtype, "r", offset=start, shape=shape, order=order)
        return _from_bytes(file.read(), shape, fortran, dtype)


def read_npz(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Arrays of a .npz file by name. A name is a key only, never a path.

    Raises ArrayFileError as `read_npy` does, and where the archive itself is damaged.
    """
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                name = f"{path}[{info.filename}]"
                with archive.open(info) as file:
                    shape, fortran, dtype, start = _read_header(file, name)
                    # What the archive declares is checked first, so that a small file cannot
                    # claim terabytes; zipfile then reads no more than it declared.
                    _check_size(name, shape, dtype, info.file_size - start)
                    data = file.read()
                _check_size(name, shape, dtype, len(data))
                key = info.filename.removesuffix(".npy")
                arrays[key] = _from_bytes(data, shape, fortran, dtype)
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise ArrayFileError(
            f"{path}: not a whole .npz archive ({error}); fetch or prepare it anew"
        ) from error
    return arrays
