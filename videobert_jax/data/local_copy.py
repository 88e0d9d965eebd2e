"""Copies of datasets on a machine's own disk, for random reads that a bucket or a network disk
would answer one round trip at a time."""

import fcntl
import hashlib
import os
import pathlib
import shutil
from typing import Any

from videobert_jax.data import index
from videobert_jax.data.config import DataConfig, SourceConfig
from videobert_jax.files import atomic, digests
from videobert_jax.files.progress import Progress

_PIECE = 1 << 22  # bytes copied at a time


def dataset_path(data: DataConfig, source: SourceConfig) -> str:
    """Where the dataset of a source is read: its path, or its copy below `data.local_copy`, which
    is made here where it is not there yet. Raises DatasetError."""
    path = source.path or data.path
    return str(copy(path, pathlib.Path(data.local_copy))) if data.local_copy else path


def copy(path: str, folder: pathlib.Path) -> pathlib.Path:
    """A whole copy of the dataset at `path`, a folder or a URL (gs://...), as folder/DIGEST.

    Files that are there with the right digest are not copied again, so a copy that was stopped
    goes on; dataset.json comes last. Processes of one machine wait for the one that copies.
    Raises DatasetError where there is no dataset, where a file does not have the bytes that the
    dataset says, and where the disk is too full.
    """
    source = _remote(path)
    files = _digests(source)
    digest = files[index.DATASET_FILE]["sha256"]
    target = folder / digest[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f".{digest[:16]}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target / index.DATASET_FILE).is_file():
            _copy_all(source, files, target)
    return target


def _remote(path: str) -> Any:
    # orbax and tfds bring etils; it reads gs:// and s3:// as they do.
    from etils import epath

    return epath.Path(path)


def _digests(source: Any) -> dict[str, dict[str, Any]]:
    try:
        content = (source / index.DIGESTS_FILE).read_bytes()
    except OSError as error:
        raise index.DatasetError(
            f"{source}: no {index.DIGESTS_FILE} can be read there ({error}); expected a dataset "
            "that `videobert prepare` has finished"
        ) from error
    return index.parse_digests(content, str(source / index.DIGESTS_FILE))


def _copy_all(source: Any, files: dict[str, dict[str, Any]], target: pathlib.Path) -> None:
    names = [name for name in files if name != index.DATASET_FILE]
    wanted = [name for name in names if not _is_whole(target / name, files[name])]
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
    source: Any, target: pathlib.Path, expected: dict[str, Any], progress: Progress
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
