"""Vectors of one file: a shard, written whole or not at all, which says what it was made of."""

import json
import pathlib

import numpy as np
import safetensors.numpy
from jaxtyping import Float16

from videobert_jax.files import atomic, digests, tensors
from videobert_jax.files.errors import DAMAGE
from videobert_jax.search_index.errors import SearchIndexError

FOLDER = "shards"
_VECTORS, _MADE = "vectors", "made"


def path_of(folder: pathlib.Path, key: str) -> pathlib.Path:
    """Of the shard of a file's state (`Source.key`) in an index's folder."""
    return folder / FOLDER / f"{key}.safetensors"


def write(
    folder: pathlib.Path, key: str, vectors: Float16[np.ndarray, "n d"], clips: int, about: str
) -> None:
    """Writes the vectors of one file of so many clips. about: digest of how they were made."""
    path = path_of(folder, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    made = {"about": about, "clips": clips, "sha256": digests.sha256_array(vectors)}
    # One entry of metadata: several are written in any order, and equal shards have equal bytes.
    metadata = {_MADE: json.dumps(made)}
    content = safetensors.numpy.save({_VECTORS: np.ascontiguousarray(vectors)}, metadata)
    atomic.write_bytes(path, content)


def read(folder: pathlib.Path, key: str, about: str) -> tuple[Float16[np.ndarray, "n d"], int]:
    """(vectors, number of clips) of a shard. Raises SearchIndexError where it is damaged, or was
    made otherwise."""
    path = path_of(folder, key)
    try:
        vectors = tensors.read(path)[_VECTORS]
        with safetensors.safe_open(path, "numpy") as file:
            made = json.loads(file.metadata()[_MADE])
        digest, made_by, clips = made["sha256"], made["about"], int(made["clips"])
    except FileNotFoundError as error:
        raise SearchIndexError(f"{path} is gone; index its file again.") from error
    except OSError as error:  # a name too long, no permission
        raise _damaged(path, f"not readable: {error.strerror}") from error
    except (*DAMAGE, safetensors.SafetensorError) as error:  # ArrayFileError is among them
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if digest != digests.sha256_array(vectors):
        raise _damaged(path, "its vectors are not those that were written")
    if made_by != about:
        raise _damaged(path, "made by another model or with other windows")
    return vectors, clips


def _damaged(path: pathlib.Path, found: str) -> SearchIndexError:
    return SearchIndexError(
        f"{path}: {found}; delete it and run `videobert index` again, which embeds its file anew."
    )
