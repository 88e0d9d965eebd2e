"""Whether a dataset's files are those that were written, by the sizes and digests that it says.

The index decides which clips and which words make an example, and nothing in it would show that it
was changed, so its digests are compared whenever a dataset is opened for reading; those of an index
that would take seconds to read (a hundred million captions have 10 GB) by `videobert verify` alone.
Shards tell damage, and another record, by themselves (data/shards.py); of small datasets they are
compared as well, else by their sizes.
"""

import concurrent.futures
import pathlib
from collections.abc import Mapping
from typing import Any

from videobert_jax.data.errors import REMEDY, DatasetError
from videobert_jax.files import digests, storage

SMALL = 256 << 20  # bytes of shards, together, that are read whole when a dataset is opened
LARGEST_INDEX = 1 << 30  # bytes of the index, together, that are read whole: a second or two
_AT_A_TIME = 32


def check(
    index: Mapping[pathlib.Path, Mapping[str, Any]],
    shards: Mapping[storage.Path, Mapping[str, Any]],
) -> None:
    """Raises DatasetError where a file is not what was written.

    index, shards: path of a file -> its "bytes" and "sha256".
    """
    small = sum(said["bytes"] for said in shards.values()) <= SMALL
    # Many at a time: a bucket answers late, and a digest leaves the interpreter's lock.
    with concurrent.futures.ThreadPoolExecutor(_AT_A_TIME) as threads:
        read = sum(said["bytes"] for said in index.values()) <= LARGEST_INDEX
        list(threads.map(_check, index, index.values(), [read] * len(index)))
        whole = [small and not storage.is_remote(path) for path in shards]
        list(threads.map(_check, shards, shards.values(), whole))


def _check(path: storage.Path, said: Mapping[str, Any], whole: bool) -> None:
    try:
        found = storage.size(path)
    except OSError as error:
        raise DatasetError(f"{path}: missing or out of reach ({error}); {REMEDY}") from error
    if found != said["bytes"]:
        raise DatasetError(f"{path}: {found:,} bytes, {said['bytes']:,} were written; {REMEDY}")
    if whole and (digest := digests.sha256_file(path)) != said["sha256"]:
        raise DatasetError(
            f"{path}: sha256 {digest[:16]}…, {str(said['sha256'])[:16]}… was written: it was "
            f"damaged or changed; {REMEDY}"
        )
