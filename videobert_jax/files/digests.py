"""SHA-256 digests, in hexadecimal."""

import hashlib
import json
import os
from typing import Any

import numpy as np

from videobert_jax.files import storage


def sha256_bytes(content: bytes | memoryview) -> str:
    """Digest of bytes."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: str | os.PathLike) -> str:
    """Digest of the content of a file, of a bucket's too, read in pieces."""
    opened: Any = storage.path(path).open("rb")
    with opened as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_array(array: np.ndarray) -> str:
    """Digest of an array's dtype, shape and little-endian C-order bytes."""
    array = np.asarray(array)
    digest = hashlib.sha256(f"{array.dtype.name}{list(array.shape)}".encode())
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    # A view of bytes also serves dtypes that have no buffer protocol of their own (bfloat16).
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """Digest of a JSON value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return sha256_bytes(text.encode("utf-8"))
