"""PyTorch's files (.pth, .pt, .pth.tar) without PyTorch: nothing in them runs.

Both forms of `torch.save` are read: the zip archive that it writes since version 1.6, and the
sequence of pickles with the storages behind them that it wrote from 0.1.10 on.
"""

import dataclasses
import io
import os
import struct
from typing import Any

import numpy as np

from videobert_jax.files import archives, pickles, torch_values
from videobert_jax.files.errors import ArrayFileError, reading

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


def read_torch(path: str | os.PathLike, *, max_bytes: int = archives.MAX_BYTES) -> Any:
    """What `torch.save` wrote: tensors and parameters as NumPy arrays, the rest as plain values.

    Tensors keep their shape, strides and dtype; bfloat16 and the 8-bit floats come as the dtypes
    of `ml_dtypes`. Tensors that share a storage share memory, and arrays can be written to. Of
    sizes comes a tuple, of devices and dtypes their names ("cuda:0", "torch.float32"). Gradients,
    hooks and attributes of tensors and dictionaries are left out.

    Args:
        path: Of either form of `torch.save`.
        max_bytes: What compressed members may unpack to (PyTorch itself compresses none).

    Raises:
        ArrayFileError: The file is damaged, claims more than it holds, holds a global that is not
            in the allow-list (a whole module, an optimizer's class, a namespace of arguments:
            save its `state_dict()` alone), or tensors that are sparse or quantised.
    """
    name = str(path)
    with open(path, "rb") as file, reading(name, "a PyTorch file"):
        start = file.read(4)
        file.seek(0)
        if start == b"PK\x03\x04":
            with archives.Archive(path) as archive:
                return _read_zip(archive, max_bytes)
        if start[:1] != b"\x80":
            raise ArrayFileError(f"begins with {start!r}, not as a file of torch.save does")
        return _read_pickles(file)


def _storage_id(identity: Any) -> tuple[np.dtype, str, int, Any]:
    """(dtype, key, number of values, view of another storage or None) of a persistent id."""
    if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != "storage":
        raise ArrayFileError("a reference that is not to a storage of values")
    _, kind, key, _, count, *view = identity
    if not isinstance(kind, torch_values.StorageType):
        raise ArrayFileError("a storage of an unknown class")
    if not isinstance(key, str) or type(count) is not int or count < 0:
        raise ArrayFileError(f"a storage of key {key!r:.80} and {count!r:.40} values")
    return kind.dtype, key, count, view[0] if view else None


def _to_native(data: np.ndarray, dtype: np.dtype, order: str) -> None:
    if order not in ("little", "big"):
        raise ArrayFileError(f"byte order {order!r:.40}, expected 'little' or 'big'")
    width = dtype.itemsize // 2 if dtype.kind == "c" else dtype.itemsize
    if order == "big" and width > 1:
        data.view(f"u{width}").byteswap(inplace=True)


def _read_zip(archive: archives.Archive, max_bytes: int) -> Any:
    roots = [n.removesuffix("data.pkl") for n in archive.names if n.endswith("/data.pkl")]
    if len(roots) != 1:
        raise ArrayFileError(f"{len(roots)} members data.pkl in the archive, expected one")
    (root,) = roots
    if f"{root}constants.pkl" in archive.names:
        raise ArrayFileError("a TorchScript program, which is code; save its state_dict() alone")
    archive.check_bound(archive.names, max_bytes)

    def content(member: str) -> np.ndarray:
        with archive.open(member) as file:
            return archives.read_all(file, archive.size(member))

    order = "little"
    if f"{root}byteorder" in archive.names:
        order = content(f"{root}byteorder").tobytes().decode("ascii")
    storages: dict[str, torch_values.Storage] = {}

    def storage(identity: Any) -> torch_values.Storage:
        dtype, key, count, _ = _storage_id(identity)
        if key not in storages:
            member = f"{root}data/{key}"
            if archive.size(member) != count * dtype.itemsize:
                raise ArrayFileError(
                    f"storage {key!r:.80} of {archive.size(member)} bytes, but {count} values of "
                    f"{dtype} are said; the file is damaged: fetch it anew"
                )
            data = content(member)
            _to_native(data, dtype, order)
            storages[key] = torch_values.Storage(data, dtype)
        elif storages[key].dtype != dtype or storages[key].data.nbytes != count * dtype.itemsize:
            raise ArrayFileError(f"storage {key!r:.80} is said in two ways")
        return storages[key]

    pickled = content(f"{root}data.pkl").tobytes()
    return pickles.load(
        io.BytesIO(pickled), len(pickled), allowed=torch_values.ALLOWED, persistent=storage
    )


@dataclasses.dataclass
class _Storages:
    """Storages whose values follow the pickle: taken when they are named, filled afterwards."""

    left: int  # bytes of the file that may still be values
    by_key: dict[str, torch_values.Storage] = dataclasses.field(default_factory=dict)

    def __call__(self, identity: Any) -> torch_values.Storage:
        dtype, key, count, view = _storage_id(identity)
        if key not in self.by_key:
            self.left -= count * dtype.itemsize
            if self.left < 0:
                raise ArrayFileError("storages of more bytes than the file has; it is cut off")
            data = np.zeros(count * dtype.itemsize, np.uint8)
            self.by_key[key] = torch_values.Storage(data, dtype)
        whole = self.by_key[key]
        if whole.dtype != dtype or whole.data.nbytes != count * dtype.itemsize:
            raise ArrayFileError(f"storage {key!r:.80} is said in two ways")
        if view is None:
            return whole
        _, offset, size = view
        if type(offset) is not int or type(size) is not int or not 0 <= offset <= offset + size:
            raise ArrayFileError(f"a view of storage {key!r:.80} from {offset!r:.40}")
        if offset + size > count:
            raise ArrayFileError(f"a view of storage {key!r:.80} beyond its end")
        span = slice(offset * dtype.itemsize, (offset + size) * dtype.itemsize)
        return torch_values.Storage(whole.data[span], dtype)

    def fill(self, file: io.BufferedIOBase, keys: Any, order: str) -> None:
        """Values of all storages from the file, in the order of `keys`."""
        if type(keys) is not list or sorted(keys) != sorted(self.by_key):
            raise ArrayFileError("other storages than its tensors lie in")
        for key in keys:
            storage = self.by_key[key]
            count = struct.unpack("<q" if order == "little" else ">q", file.read(8))[0]
            if count * storage.dtype.itemsize != storage.data.nbytes:
                raise ArrayFileError(f"{count} values in storage {key!r:.80}, another number said")
            archives.fill(file, storage.data)
            _to_native(storage.data, storage.dtype, order)


def _read_pickles(file: io.BufferedIOBase) -> Any:
    end = os.fstat(file.fileno()).st_size
    if pickles.load(file, end) != _MAGIC:
        raise ArrayFileError(
            "a pickle, but not of torch.save; if it holds plain values, read it as a .pkl file"
        )
    if (version := pickles.load(file, end)) != _PROTOCOL:
        raise ArrayFileError(f"protocol {version!r:.40} of torch.save, expected {_PROTOCOL}")
    system = pickles.load(file, end)
    if not isinstance(system, dict) or type(system.get("little_endian")) is not bool:
        raise ArrayFileError("does not say its byte order")
    storages = _Storages(end - file.tell())
    value = pickles.load(file, end, allowed=torch_values.ALLOWED, persistent=storages)
    keys = pickles.load(file, end)
    storages.fill(file, keys, "little" if system["little_endian"] else "big")
    if file.tell() != end:
        raise ArrayFileError(f"{end - file.tell()} bytes behind its last storage")
    return value
