"""The allow-list of PyTorch's files: tensors as NumPy arrays over their storages' bytes.

`torch/_utils.py` and `torch/serialization.py` say which functions a file names, and with which
arguments. None of them is called; what each stands for is written here.
"""

import dataclasses
import math
from typing import Any

import ml_dtypes
import numpy as np

from videobert_jax.files import pickle_values
from videobert_jax.files.errors import ArrayFileError
from videobert_jax.files.pickle_values import Argument, Budget, Constructor

_DTYPES: dict[str, Any] = {
    "float64": np.float64,
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8_e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "float8_e5m2": ml_dtypes.float8_e5m2,
    "float8_e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "complex64": np.complex64,
    "complex128": np.complex128,
    "int64": np.int64,
    "int32": np.int32,
    "int16": np.int16,
    "int8": np.int8,
    "uint64": np.uint64,
    "uint32": np.uint32,
    "uint16": np.uint16,
    "uint8": np.uint8,
    "bool": np.bool_,
}
_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "UntypedStorage": "uint8",
    "_UntypedStorage": "uint8",
}
# A tensor may be expanded from fewer values (stride 0). Nothing is taken for that here, but by
# whoever copies it, so beyond its storage it may claim this much.
EXPANDED_BYTES = 64 << 20


@dataclasses.dataclass(frozen=True, eq=False)
class StorageType(Argument):
    """A class of storages, by the dtype of what it holds."""

    dtype: np.dtype


@dataclasses.dataclass(frozen=True, eq=False)
class Storage(Argument):
    """Bytes [n] uint8 that tensors lie in, and the dtype that its class says."""

    data: np.ndarray
    dtype: np.dtype


def _sizes(values: Any) -> tuple[int, ...]:
    if type(values) is not tuple or not all(type(v) is int and v >= 0 for v in values):
        raise ArrayFileError(f"sizes or strides {values!r:.80}, expected integers of 0 or more")
    return values


def _view(
    storage: Any, offset: Any, shape: Any, strides: Any, dtype: np.dtype | None = None
) -> np.ndarray:
    if not isinstance(storage, Storage):
        raise ArrayFileError("a tensor without a storage")
    dtype = dtype or storage.dtype
    shape, strides, (offset,) = _sizes(shape), _sizes(strides), _sizes((offset,))
    if len(shape) != len(strides):
        raise ArrayFileError(f"a tensor of sizes {shape} with strides {strides}")
    count = math.prod(shape)
    reach = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    found = storage.data.nbytes // dtype.itemsize
    if count and offset + reach >= found:
        raise ArrayFileError(
            f"a tensor of sizes {shape}, strides {strides} from value {offset} on in a storage of "
            f"{found} values; the file is damaged: fetch it anew"
        )
    if count * dtype.itemsize > max(storage.data.nbytes, EXPANDED_BYTES):
        raise ArrayFileError(f"a tensor of sizes {shape} expanded from {found} values")
    if not count:
        return np.empty(shape, dtype)
    return np.ndarray(
        shape,
        dtype,
        buffer=storage.data.data,
        offset=offset * dtype.itemsize,
        strides=tuple(stride * dtype.itemsize for stride in strides),
    )


def _tensor(arguments: tuple, budget: Budget) -> np.ndarray:
    # storage, offset, size, stride; gradients and hooks follow, which an array has none of.
    budget.take(pickle_values.ARRAY_BYTES)
    return _view(*arguments[:4])


def _tensor_of_dtype(arguments: tuple, budget: Budget) -> np.ndarray:
    budget.take(pickle_values.ARRAY_BYTES)
    name = str(arguments[6]).removeprefix("torch.")
    if name not in _DTYPES:
        raise ArrayFileError(f"a tensor of dtype {name:.80}, which NumPy has no word for")
    return _view(*arguments[:4], dtype=np.dtype(_DTYPES[name]))


def _parameter(arguments: tuple, budget: Budget) -> np.ndarray:
    if not isinstance(arguments[0], np.ndarray):
        raise ArrayFileError("a parameter without its tensor")
    return arguments[0]


def _tensor_with_attributes(arguments: tuple, budget: Budget) -> np.ndarray:
    function, kind, inner, _ = arguments
    if not isinstance(function, Constructor) or function.name not in _TENSORS:
        raise ArrayFileError("a tensor built in an unknown way")
    if not isinstance(kind, Constructor) or kind.name not in _CLASSES or type(inner) is not tuple:
        raise ArrayFileError("a tensor of an unknown class")
    return function.build(inner, budget)


def _size(arguments: tuple, budget: Budget) -> tuple[int, ...]:
    (values,) = arguments
    return _sizes(tuple(values) if type(values) is list else values)


def _device(arguments: tuple, budget: Budget) -> str:
    return ":".join(str(part) for part in arguments)


def _no_call(arguments: tuple, budget: Budget) -> Any:
    raise ArrayFileError("a PyTorch class called where only its name is expected")


_TENSORS = {
    "_rebuild_tensor": _tensor,
    "_rebuild_tensor_v2": _tensor,
    "_rebuild_tensor_v3": _tensor_of_dtype,
    "_rebuild_parameter": _parameter,
    "_rebuild_parameter_with_state": _parameter,
}
_CLASSES = {"Tensor": "torch", "Parameter": "torch.nn.parameter", "Buffer": "torch.nn.parameter"}


def _entries() -> dict[tuple[str, str], Any]:
    entries: dict[tuple[str, str], Any] = dict(pickle_values.ALLOWED)
    for name, dtype in _STORAGES.items():
        for module in ("torch", "torch.cuda", "torch.storage"):
            entries[module, name] = StorageType(np.dtype(_DTYPES[dtype]))
    for name, build in _TENSORS.items():
        entries["torch._utils", name] = Constructor(name, build)
    for name, module in _CLASSES.items():
        entries[module, name] = Constructor(name, _no_call)
    entries["torch._tensor", "_rebuild_from_type_v2"] = Constructor(
        "_rebuild_from_type_v2", _tensor_with_attributes
    )
    entries["torch", "Size"] = Constructor("Size", _size)
    entries["torch", "device"] = Constructor("device", _device)
    # As a value, a dtype comes back as its name.
    entries |= {("torch", name): f"torch.{name}" for name in _DTYPES}
    return entries


ALLOWED = _entries()
