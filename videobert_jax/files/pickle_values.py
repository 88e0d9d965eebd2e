"""The allow-list of the unpickler: what a pickle may build besides its own basic values.

Each entry is a function written here, never the object that the pickle names. Shapes and dtypes
are checked as those of a .npy header are.
"""

import collections
import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from videobert_jax.files import buffers
from videobert_jax.files.errors import ArrayFileError

# A key's hash is taken anew for a tuple each time, and for integers it can be chosen by the
# file's maker. Keys are small, so that no file can make the reader busy for ever.
KEY_TUPLE = 16
KEY_BITS = 64
_PLAIN_KEYS = (str, bytes, int, float, np.number, np.bool_, np.str_, np.bytes_)
ARRAY_BYTES = 200
_ENTRY_BYTES = 100


class Budget:
    """Bytes of memory that may still be taken."""

    def __init__(self, size: int):
        self.left = size

    def take(self, size: int) -> None:
        """Raises ArrayFileError when the memory is spent."""
        self.left -= size
        if self.left < 0:
            raise ArrayFileError(
                "asks for far more memory than a file of its size should need; "
                "the file is damaged or was made to do harm"
            )


class Argument:
    """A thing that a pickle may hand to a constructor, but not hold as a value."""


@dataclasses.dataclass(frozen=True, eq=False)
class Constructor(Argument):
    """What stands for a global of the allow-list.

    `unfinished` says that a state follows, which fills in the value.
    """

    name: str
    build: Callable[[tuple, Budget], Any]
    unfinished: bool = False


def check_key(key: Any) -> None:
    """Raises ArrayFileError where `key` may not be a key of a dictionary or a member of a set."""
    parts = key if type(key) is tuple and len(key) <= KEY_TUPLE else (key,)
    for part in parts:
        if part is not None and not isinstance(part, _PLAIN_KEYS):
            raise ArrayFileError(
                f"a key of type {type(part).__name__}; expected text, numbers, or a tuple of at "
                f"most {KEY_TUPLE} of them"
            )
        if type(part) is int and part.bit_length() > KEY_BITS:
            raise ArrayFileError(f"a key of {part.bit_length()} bits, expected {KEY_BITS} or fewer")


def _pairs(arguments: tuple, budget: Budget) -> Iterable[tuple[Any, Any]]:
    (items,) = arguments or ((),)
    if isinstance(items, dict):
        items = list(items.items())
    if type(items) not in (list, tuple):
        raise ArrayFileError(f"a dictionary of {type(items).__name__}, expected pairs")
    budget.take(_ENTRY_BYTES * len(items))
    for pair in items:
        if type(pair) not in (list, tuple) or len(pair) != 2:
            raise ArrayFileError("a dictionary's item that is no pair")
        check_key(pair[0])
        yield pair[0], pair[1]


def _ordered_dict(arguments: tuple, budget: Budget) -> collections.OrderedDict:
    return collections.OrderedDict(_pairs(arguments, budget))


def _default_dict(arguments: tuple, budget: Budget) -> collections.defaultdict:
    factory, *rest = arguments
    if factory is None:
        return collections.defaultdict(None, _pairs(tuple(rest), budget))
    if not isinstance(factory, Constructor) or factory.name not in _FACTORIES:
        raise ArrayFileError(f"a defaultdict of what is none of {', '.join(_FACTORIES)}")
    return collections.defaultdict(_FACTORIES[factory.name], _pairs(tuple(rest), budget))


_FACTORIES: dict[str, Callable[[], Any]] = {
    "list": list,
    "dict": dict,
    "set": set,
    "int": int,
    "float": float,
    "str": str,
    "OrderedDict": collections.OrderedDict,
}


def _members(arguments: tuple, budget: Budget) -> list | tuple:
    (items,) = arguments or ((),)
    if type(items) not in (list, tuple):
        raise ArrayFileError(f"a set or list of {type(items).__name__}, expected a list")
    budget.take(_ENTRY_BYTES * len(items))
    return items


def _set(arguments: tuple, budget: Budget) -> set:
    members = _members(arguments, budget)
    for member in members:
        check_key(member)
    return set(members)


def _frozenset(arguments: tuple, budget: Budget) -> frozenset:
    return frozenset(_set(arguments, budget))


def _bytes_of(value: Any) -> bytes | bytearray:
    # Python 2 wrote bytes as text; NumPy's convention is that each character is one byte.
    if isinstance(value, str):
        return value.encode("latin-1")
    if not isinstance(value, bytes | bytearray):
        raise ArrayFileError(f"{type(value).__name__} where bytes were expected")
    return value


def _bytes(arguments: tuple, budget: Budget) -> bytes:
    content = _bytes_of(arguments[0]) if arguments else b""
    budget.take(len(content))
    return bytes(content)


def _bytearray(arguments: tuple, budget: Budget) -> bytearray:
    # Protocols before 5 write (text, "latin-1") or bytes.
    if len(arguments) == 2 and arguments[1] not in ("latin-1", "latin1"):
        raise ArrayFileError(f"a bytearray in {arguments[1]!r:.40}, expected latin-1")
    return bytearray(_bytes(arguments[:1], budget))


def _encode(arguments: tuple, budget: Budget) -> bytes:
    text, encoding = arguments
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ArrayFileError(f"bytes encoded as {encoding!r:.40}, expected latin1")
    return _bytes((text,), budget)


def _complex(arguments: tuple, budget: Budget) -> complex:
    real, imaginary = arguments
    return complex(float(real), float(imaginary))


def _number(kind: Callable[..., Any], allowed: tuple[type, ...]) -> Callable[[tuple, Budget], Any]:
    def build(arguments: tuple, budget: Budget) -> Any:
        if not arguments:
            return kind()
        (value,) = arguments
        if not isinstance(value, allowed):
            raise ArrayFileError(f"{kind.__name__} of {type(value).__name__}")
        return kind(value)

    return build


def _list(arguments: tuple, budget: Budget) -> list:
    return list(_members(arguments, budget))


def _empty_array(arguments: tuple, budget: Budget) -> np.ndarray:
    kind, shape, _ = arguments
    if not isinstance(kind, Constructor) or kind.name != "ndarray" or shape != (0,):
        raise ArrayFileError("an array of a class that is not numpy.ndarray")
    budget.take(ARRAY_BYTES)
    return np.empty(0, np.int8)


def _dtype(arguments: tuple, budget: Budget) -> np.dtype:
    budget.take(ARRAY_BYTES)
    # A copy: the state that follows is set on it in place, and NumPy's own are shared by all.
    return np.dtype(buffers.dtype_of(arguments[0]), copy=True)


def _scalar(arguments: tuple, budget: Budget) -> np.generic:
    dtype, content = arguments
    if not isinstance(dtype, np.dtype):
        raise ArrayFileError("a NumPy scalar without a dtype")
    content = _bytes_of(content)
    budget.take(ARRAY_BYTES + len(content))
    return buffers.over(bytes(content), (1,), dtype)[0]


def _array_over_buffer(arguments: tuple, budget: Budget) -> np.ndarray:
    data, dtype, shape, order, *axes = arguments
    if not isinstance(dtype, np.dtype) or order not in ("C", "F", "K"):
        raise ArrayFileError(f"an array of dtype {dtype!r:.40} in order {order!r:.40}")
    budget.take(ARRAY_BYTES)
    array = buffers.over(_bytes_of(data), shape, dtype, fortran=order == "F")
    return array.transpose(axes[0]) if axes and order == "K" else array


def set_array_state(array: np.ndarray, state: Any, budget: Budget) -> None:
    """The state of NumPy's own pickles, (1, shape, dtype, is_fortran, content), set on `array`.

    Raises ArrayFileError where it is not of that form, or the content is too long or short.
    """
    if type(state) is not tuple or len(state) not in (4, 5):
        raise ArrayFileError("a NumPy array's state that is no tuple of 5")
    shape, dtype, fortran, content = state[-4:]
    if not isinstance(dtype, np.dtype):
        raise ArrayFileError("a NumPy array without a dtype")
    if dtype.hasobject:
        if dtype != np.dtype(object) or type(content) is not list:
            raise ArrayFileError("objects inside a structured array")
        buffers.element_count(shape, np.dtype("u1"), len(content))
        budget.take(8 * len(content))
    else:
        content = bytes(_bytes_of(content))
        buffers.element_count(shape, dtype, len(content))
        budget.take(len(content))
    array.__setstate__((1, shape, dtype, bool(fortran), content))  # type: ignore[arg-type]


def set_dtype_state(dtype: np.dtype, state: Any) -> None:
    """The state of NumPy's own pickles set on `dtype`: byte order, fields, a subarray's shape.

    NumPy takes any state as it is, flags and offsets too; so a sound dtype is built from what it
    says, and that one's state is set. Raises ArrayFileError where none can be built.
    """
    if type(state) is not tuple or not 5 <= len(state) <= 9 or state[0] not in (3, 4):
        raise ArrayFileError("a NumPy dtype's state that is no tuple of 8")
    order, subarray, names, fields = state[1:5]
    size = state[5] if len(state) > 5 else -1
    if order not in ("<", ">", "|", "="):
        raise ArrayFileError(f"byte order {order!r:.40}, expected '<', '>' or '|'")
    if fields is not None:
        if type(names) is not tuple or type(fields) is not dict or set(names) != set(fields):
            raise ArrayFileError("a structured dtype whose names and fields differ")
        described = np.dtype(
            {
                "names": list(names),
                "formats": [_field(fields[name])[0] for name in names],
                "offsets": [_field(fields[name])[1] for name in names],
                "itemsize": _plain_size(size),
            }
        )
    elif subarray is not None:
        base, shape = subarray
        if type(shape) is int:
            shape = (shape,)
        if not isinstance(base, np.dtype) or math.prod(shape) * base.itemsize != size:
            raise ArrayFileError("a subarray's dtype whose size is another")
        described = np.dtype((base, shape))
    elif dtype.kind in "mM":
        raise ArrayFileError("times of NumPy (datetime64, timedelta64); expected numbers or text")
    else:
        described = dtype.newbyteorder(order)
        if size not in (-1, described.itemsize):
            raise ArrayFileError(f"a dtype {described} of {size} bytes")
    dtype.__setstate__(described.__reduce__()[2])  # type: ignore[attr-defined]


def _field(field: Any) -> tuple[np.dtype, int]:
    if type(field) is not tuple or len(field) < 2 or not isinstance(field[0], np.dtype):
        raise ArrayFileError("a structured dtype's field that is no (dtype, offset)")
    if field[0].hasobject:
        raise ArrayFileError("objects inside a structured array")
    return field[0], _plain_size(field[1])


def _plain_size(size: Any) -> int:
    if type(size) is not int or not 0 <= size < 2**31:
        raise ArrayFileError(f"a size or offset of {size!r:.40} in a dtype")
    return size


def _entries() -> dict[tuple[str, str], Argument]:
    builtin = {
        "set": _set,
        "frozenset": _frozenset,
        "bytes": _bytes,
        "bytearray": _bytearray,
        "complex": _complex,
        "list": _list,
        "dict": lambda arguments, budget: dict(_pairs(arguments, budget)),
        "int": _number(int, (int, float)),
        "float": _number(float, (int, float)),
        "str": _number(str, (str,)),
    }
    numpy = {
        "multiarray": {"_reconstruct": (_empty_array, True), "scalar": (_scalar, False)},
        "numeric": {"_frombuffer": (_array_over_buffer, False)},
    }
    entries: dict[tuple[str, str], Argument] = {}
    for module in ("builtins", "__builtin__"):
        for name, build in builtin.items():
            entries[module, name] = Constructor(name, build)
        # Python 2's names, which protocols 0 to 2 keep.
        entries[module, "long"], entries[module, "unicode"] = (
            entries[module, name] for name in ("int", "str")
        )
    for package in ("numpy.core", "numpy._core"):
        for module, functions in numpy.items():
            for name, (build, unfinished) in functions.items():
                entries[f"{package}.{module}", name] = Constructor(name, build, unfinished)
    for module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray"):
        entries[module, "ndarray"] = Constructor("ndarray", _no_call)
        entries[module, "dtype"] = Constructor("dtype", _dtype, True)
    entries["collections", "OrderedDict"] = Constructor("OrderedDict", _ordered_dict)
    entries["collections", "defaultdict"] = Constructor("defaultdict", _default_dict)
    entries["_codecs", "encode"] = Constructor("encode", _encode)
    return entries


def _no_call(arguments: tuple, budget: Budget) -> Any:
    raise ArrayFileError("a class called where only its name is expected")


ALLOWED = _entries()
