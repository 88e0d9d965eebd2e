"""Arrays over bytes whose shape and dtype a file says: both are checked before they are used."""

import math
import re
from typing import Any

import numpy as np

from videobert_jax.files.errors import ArrayFileError

# Numbers, booleans, strings, raw bytes, and times. `O` is read by the unpickler alone.
_PLAIN = re.compile(
    r"[<>=|]?(?:b1|[iu][1248]|f(?:2|4|8|12|16)|c(?:8|16|24|32)|[SUV][0-9]{1,10}|O8?)"
)
_TIME = re.compile(r"[<>=|]?[mM]8(?:\[(?:[0-9]{1,9})?[a-zA-Z]{1,2}(?:/[0-9]{1,9})?\])?")


def dtype_of(description: Any) -> np.dtype:
    """dtype of a description as .npy headers hold it: "<f4", or the fields of a structured one.

    Raises ArrayFileError (or what `errors.DAMAGE` lists) on any other text or value.
    """
    _check_description(description)
    return np.lib.format.descr_to_dtype(description)


def _check_description(description: Any) -> None:
    if isinstance(description, str):
        if not (_PLAIN.fullmatch(description) or _TIME.fullmatch(description)):
            raise ArrayFileError(f"dtype {description!r:.80}, expected one such as '<f4' or '<U5'")
    elif isinstance(description, tuple) and len(description) == 2:  # a subarray: its dtype, shape
        _check_description(description[0])
    elif isinstance(description, list):
        for field in description:
            if not isinstance(field, tuple) or len(field) not in (2, 3):
                raise ArrayFileError(f"a structured dtype's field {field!r:.80}")
            _check_description(field[1])
    else:
        raise ArrayFileError(f"dtype {description!r:.80}, expected a code or a list of fields")


def check_shape(shape: Any) -> None:
    """Raises ArrayFileError where `shape` is no tuple of sizes."""
    if type(shape) is not tuple or not all(type(size) is int and size >= 0 for size in shape):
        raise ArrayFileError(f"shape {shape!r:.80}, expected a tuple of sizes of 0 or more")


def element_count(shape: Any, dtype: np.dtype, found: int) -> int:
    """Elements of an array, which must fill exactly `found` bytes.

    Raises ArrayFileError where the shape is no tuple of sizes, or says another number of bytes.
    """
    check_shape(shape)
    count = math.prod(shape)
    # Elements of no bytes would let an empty file claim any number of them.
    if count * dtype.itemsize != found or (dtype.itemsize == 0 and count):
        raise ArrayFileError(
            f"{found} bytes of data, but its header says {list(shape)} of {dtype}, "
            f"which are {count * dtype.itemsize}; the file is damaged: fetch or prepare it anew"
        )
    return count


def over(data: Any, shape: Any, dtype: np.dtype, *, fortran: bool = False) -> np.ndarray:
    """The array that lies in `data` (any buffer), not copied; read-only where the buffer is.

    Raises ArrayFileError where shape and dtype do not say the number of bytes that are there.
    """
    if dtype.hasobject:
        raise ArrayFileError("Python objects where numbers or strings were expected")
    with memoryview(data) as view:
        count = element_count(shape, dtype, view.nbytes)
    if not count:
        return np.empty(shape, dtype)
    flat = np.frombuffer(data, dtype)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
