"""Pickles of plain values and NumPy arrays, read without running anything that they hold."""

import io
import os
from collections.abc import Callable, Mapping
from typing import Any

from videobert_jax.files import pickle_opcodes, pickle_values
from videobert_jax.files.errors import ArrayFileError, reading
from videobert_jax.files.pickle_machine import Machine

# One byte of a pickle may stand for an empty container of 300 bytes. Real ones stay below 30 bytes
# of memory for a byte of the file: pairs of small integers, in lists, come nearest.
MEMORY_PER_BYTE = 40
MEMORY_SLACK = 64 << 20


def load(
    file: io.BufferedIOBase,
    end: int,
    *,
    allowed: Mapping[tuple[str, str], Any] = pickle_values.ALLOWED,
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """Value of the pickle at the file's position, for formats that hold a pickle.

    Args:
        file: Open for reading bytes; it is left behind the pickle.
        end: Position at which the file ends.
        allowed: (module, name) of a global -> what stands for it.
        persistent: Value of a persistent id.

    Raises:
        ArrayFileError, or what `errors.DAMAGE` lists; `errors.reading` makes one of both.
    """
    budget = pickle_values.Budget(MEMORY_SLACK + MEMORY_PER_BYTE * (end - file.tell()))
    return pickle_opcodes.run(Machine(file, end, allowed, budget, persistent))


def read_pickle(path: str | os.PathLike) -> Any:
    """Value of a pickle, protocols 0 to 5, of Python 2 or 3.

    It may hold None, booleans, numbers, text, bytes, lists, tuples, dictionaries, sets,
    OrderedDict, defaultdict (of a builtin type), NumPy arrays, scalars and dtypes of NumPy 1 and 2,
    and object arrays of all these. Anything else is refused by name, before any of it is used:
    nothing in the file is ever imported or called. Text of Python 2 comes back with one character
    a byte (latin-1), as NumPy's own convention is. What is shared stays shared. The memory taken
    stays below 40 bytes for each byte of the file, plus 64 MiB.

    Raises ArrayFileError on a global beyond these, on damage, on values that contain themselves or
    are nested more than 200 deep, on integers of more than 255 bytes, on keys that are not text,
    numbers of 64 bits or short tuples of these, and on bytes behind the pickle's end.
    """
    name = str(path)
    with open(path, "rb") as file, reading(name, "a pickle"):
        end = os.fstat(file.fileno()).st_size
        value = load(file, end)
        if file.tell() != end:
            raise ArrayFileError(
                f"{end - file.tell()} bytes behind the pickle's end, expected one pickle alone"
            )
        return value
