"""safetensors files from anywhere: a header that lies is refused before memory is taken for it."""

import json
import math
import operator
import os
import pathlib
import struct
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from videobert_jax.files.errors import DAMAGE, ArrayFileError

_MAXIMUM_HEADER = 100_000_000  # bytes; the format's own limit
_MAPPED_DTYPES = {"I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "F32": np.dtype("<f4")}
_ITEM_SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1}


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Tensors of a file by name.

    Raises ArrayFileError where the file is damaged, or its header does not say what it holds.
    """
    path = pathlib.Path(path)
    _checked_header(path)
    try:
        return safetensors.numpy.load_file(path)
    except SafetensorError as error:
        raise _damaged(path, str(error)) from error


def mapped(path: str | os.PathLike) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """(metadata, tensors by name) of a file of int64, int32 and float32; read where they are used.

    Raises ArrayFileError where the file is damaged, or has tensors of another type.
    """
    path = pathlib.Path(path)
    header, first = _checked_header(path)
    metadata, tensors = header.pop("__metadata__", {}), {}
    for name, entry in header.items():
        if entry["dtype"] not in _MAPPED_DTYPES:
            raise _damaged(path, f"{name} of type {entry['dtype']}")
        dtype, start = _MAPPED_DTYPES[entry["dtype"]], first + entry["data_offsets"][0]
        shape = tuple(entry["shape"])
        tensors[name] = np.zeros(shape, dtype)  # a file cannot be mapped at nothing
        if math.prod(shape):
            tensors[name] = np.memmap(path, dtype, "r", start, shape)
    return metadata, tensors


def places(path: str | os.PathLike) -> dict[str, tuple[int, int]]:
    """(first byte in the file, number of bytes) of the values of every tensor, by name.

    Raises ArrayFileError where the file is damaged.
    """
    header, first = _checked_header(pathlib.Path(path))
    header.pop("__metadata__", None)
    offsets = {name: entry["data_offsets"] for name, entry in header.items()}
    return {name: (first + start, stop - start) for name, (start, stop) in offsets.items()}


def _checked_header(path: pathlib.Path) -> tuple[dict[str, Any], int]:
    """(header, where in the file its tensors begin). Raises ArrayFileError unless they tile the
    rest of the file exactly."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        first = file.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
        if not 2 <= length <= min(_MAXIMUM_HEADER, size - 8):
            raise _damaged(path, f"a header of {length} bytes in a file of {size}")
        try:
            header = json.loads(file.read(length))
            tensors = []
            for name, entry in header.items():
                if name == "__metadata__":
                    continue
                start, stop = map(operator.index, entry["data_offsets"])
                dtype, shape = entry["dtype"], entry["shape"]
                extent = math.prod(shape) * _ITEM_SIZES.get(dtype, 0)
                tensors.append((start, stop, extent, f"{dtype}{shape}"))
            tensors.sort()
        except (*DAMAGE, AttributeError) as error:
            raise _damaged(path, f"an unreadable header ({error})") from error
    end = 0
    for start, stop, extent, form in tensors:
        if start != end or stop - start != extent:
            raise _damaged(path, f"a tensor {form} at bytes {start} to {stop}")
        end = stop
    if end != size - 8 - length:
        raise _damaged(path, f"{size - 8 - length} bytes of tensors, its header says {end}")
    return header, 8 + length


def _damaged(path: pathlib.Path, found: str) -> ArrayFileError:
    return ArrayFileError(f"{path}: {found}; not a whole safetensors file")
