"""Datasets of buckets and network disks on a machine's own disk: whole copies, for random reads
that a bucket would answer one round trip at a time, or copies of all but the records."""

import contextlib
import hashlib
import os
import pathlib
import shutil
from collections.abc import Collection, Iterator
from typing import Any

from videobert_jax.data import index
from videobert_jax.data.config import DataConfig, SourceConfig
from videobert_jax.files import atomic, digests, storage
from videobert_jax.files.progress import Progress

_PIECE = 1 << 22  # bytes copied at a time


def dataset_path(data: DataConfig, source: SourceConfig) -> str:
    """Where the dataset of a source is read, as `opened_path` says. Raises DatasetError."""
    return opened_path(source.path or data.path, data.local_copy)


def opened_path(path: str, folder: str = "") -> str:
    """Where the dataset of a path or URL is read: there; or its copy below `folder`, which is made
    where it is not there yet; or, of a bucket without a `folder`, a copy of all but its records,
    which are read from the bucket. Raises DatasetError, StorageError."""
    if folder:
        return str(copy(path, pathlib.Path(folder)))
    return str(copy_index(path)) if storage.is_remote(storage.path(path)) else path


def copy(path: str, folder: pathlib.Path) -> pathlib.Path:
    """A whole copy of the dataset at `path`, a folder or a URL (gs://...), as folder/DIGEST.

    Files that are there with the right digest are not copied again, so a copy that was stopped
    goes on; dataset.json comes last. Processes of one machine wait for the one that copies.
    Raises DatasetError where there is no dataset, where a file does not have the bytes that the
    dataset says, and where the disk is too full.
    """
    source = storage.path(path)
    storage.require_readable(source)
    files = _digests(source)
    target = folder / files[index.DATASET_FILE]["sha256"][:16]
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(target):
        if not (target / index.DATASET_FILE).is_file():
            _copy_files(source, files, list(files), target)
    return target


def copy_index(path: str) -> pathlib.Path:
    """A copy of the dataset at a URL but for its records, in $VIDEOBERT_CACHE or ~/.cache: captions
    and columns are mapped, which a bucket's objects cannot be. Raises what `copy` raises."""
    source = storage.path(path)
    storage.require_readable(source)
    files = _digests(source)
    root = os.environ.get("VIDEOBERT_CACHE") or pathlib.Path.home() / ".cache" / "videobert_jax"
    # of the same dataset in two buckets there are two, as each says where the records are
    name = digests.sha256_json([str(source), files[index.DATASET_FILE]["sha256"]])[:16]
    target = pathlib.Path(root) / "datasets" / name
    target.mkdir(parents=True, exist_ok=True)
    with _alone(target):
        if not (target / index.DATASET_FILE).is_file():
            atomic.write_json(target / index.RECORDS_FILE, {"folder": str(source)})
            _copy_files(source, files, [n for n in files if not index.is_shard(n)], target)
    return target


@contextlib.contextmanager
def _alone(target: pathlib.Path) -> Iterator[None]:
    """Keeps other processes of this machine from copying to the same place."""
    import fcntl  # of POSIX alone, where datasets are read; commands are imported on Windows too

    with open(target.with_name(f".{target.name}.lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _digests(source: storage.Path) -> dict[str, dict[str, Any]]:
    try:
        content = (source / index.DIGESTS_FILE).read_bytes()
    except OSError as error:
        raise index.DatasetError(
            f"{source}: no {index.DIGESTS_FILE} can be read there ({error}); expected a dataset "
            "that `videobert prepare` has finished"
        ) from error
    return index.parse_digests(content, str(source / index.DIGESTS_FILE))


def _copy_files(
    source: storage.Path,
    files: dict[str, dict[str, Any]],
    names: Collection[str],
    target: pathlib.Path,
) -> None:
    """Copies those of `names` that are not there yet, dataset.json last."""
    first = [name for name in names if name != index.DATASET_FILE]
    wanted = [name for name in first if not _is_whole(target / name, files[name])]
    total = sum(files[name]["bytes"] for name in wanted)
    target.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target).free
    if total > free:
        raise index.DatasetError(
            f"{target}: {free / 1e9:,.1f} GB are free, the copy of {source} needs "
            f"{total / 1e9:,.1f} GB; give another --config.data.local_copy, or leave it out"
        )
    progress = Progress("MB", total / 1e6, "local copy")
    for name in wanted:
        _copy_file(source / name, target / name, files[name], progress)
    # read_digests wants this one too; dataset.json says that all is there.
    atomic.write_bytes(target / index.DIGESTS_FILE, (source / index.DIGESTS_FILE).read_bytes())
    last = index.DATASET_FILE
    _copy_file(source / last, target / last, files[last], progress)


def _is_whole(file: pathlib.Path, expected: dict[str, Any]) -> bool:
    if not file.is_file() or file.stat().st_size != expected["bytes"]:
        return False
    return digests.sha256_file(file) == expected["sha256"]


def _copy_file(
    source: storage.Path, target: pathlib.Path, expected: dict[str, Any], progress: Progress
) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.unfinished")
    digest = hashlib.sha256()
    try:
        with source.open("rb") as read, open(unfinished, "wb") as write:
            while piece := read.read(_PIECE):
                digest.update(piece)
                write.write(piece)
                progress.step(len(piece) / 1e6)
    except OSError as error:
        raise index.DatasetError(
            f"{source}: cannot be copied to {target} ({error}); the same command goes on from there"
        ) from error
    if (found := digest.hexdigest()) != expected["sha256"]:
        unfinished.unlink()
        raise index.DatasetError(
            f"{source}: sha256 {found[:16]}…, the dataset says {expected['sha256'][:16]}…: it is "
            f"damaged; {index.REMEDY}"
        )
    os.replace(unfinished, target)
