"""The files of a split's index, each read and compared with what the dataset says of it."""

import pathlib
from typing import Any

import numpy as np

from videobert_jax.data.errors import REMEDY, DatasetError
from videobert_jax.files import arrays, json_values


def is_inside(name: str) -> bool:
    """Whether a path from the dataset's folder stays in it."""
    path = pathlib.PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def read_column(file: pathlib.Path, length: int, dtype: Any) -> np.ndarray:
    """A mapped column of `length` values. Raises DatasetError."""
    if not file.is_file():
        raise DatasetError(
            f"{file}: missing, expected {length} values of {np.dtype(dtype)}; {REMEDY}"
        )
    try:
        column = arrays.read_npy(file, mapped=True)
    except arrays.ArrayFileError as error:
        raise DatasetError(str(error)) from error
    if column.shape != (length,) or column.dtype != dtype:
        raise DatasetError(
            f"{file}: {column.dtype} {list(column.shape)}, expected {np.dtype(dtype)} [{length}]; "
            f"{REMEDY}"
        )
    return column


def check_text(file: pathlib.Path, expected: int, num_captions: int) -> None:
    """Raises DatasetError unless the file of captions has so many bytes, and some if it must."""
    found = file.stat().st_size if file.is_file() else 0
    if found != expected or (found == 0 and num_captions):
        state = "missing" if not file.is_file() else "empty" if found == 0 else f"{found} bytes"
        raise DatasetError(
            f"{file}: the caption file is {state}, expected {expected} bytes with {num_captions} "
            f"captions; {REMEDY}"
        )


def read_names(file: pathlib.Path, length: int) -> list[str]:
    """The names of `length` videos. Raises DatasetError."""
    try:
        names = json_values.parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{file}: not readable ({error}); {REMEDY}") from error
    found = len(names) if isinstance(names, list) else 0
    if found != length or not all(isinstance(name, str) for name in names):
        raise DatasetError(f"{file}: {found} video names, expected {length}; {REMEDY}")
    return names
