"""Folders of a disk, and of a bucket where a name is a URL such as gs://BUCKET/FOLDER.

A disk's paths are pathlib's; a URL's are etils', which have the same methods (`exists`, `glob`,
`read_bytes`, ...). What a bucket does otherwise is here: it has no folders, an object is there
whole or not at all, is never appended to, and takes another name only by being copied.
What reads buckets is imported when the first URL is named: a disk needs none of it.
"""

import os
import pathlib
import shutil
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from videobert_jax.files import extras

if TYPE_CHECKING:
    from etils import epath

    Path = pathlib.Path | epath.Path
else:
    Path = os.PathLike

# etils would import TensorFlow for each of its calls where that is installed (3-7 s).
os.environ.setdefault("EPATH_USE_TF", "false")
# gcsfs would ask for the kind of each bucket, by another library with credentials of its own.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")

_REMEDIES = {
    "missing": "create it: gcloud storage buckets create gs://{bucket} --location=REGION",
    "forbidden": "allow it: gcloud storage buckets add-iam-policy-binding gs://{bucket} "
    "--member=serviceAccount:ACCOUNT --role=roles/storage.objectUser (ACCOUNT is the one that the "
    "machine runs as; of a person: --member=user:NAME)",
    "credentials": "this machine has no credentials that hold: gcloud auth application-default "
    "login, or a machine with a service account and --scopes=cloud-platform",
    "other": "see whether the bucket answers: gcloud storage ls gs://{bucket}",
}


class StorageError(ValueError):
    """A bucket that is missing, out of reach, or closed to this account."""


def path(name: str | os.PathLike) -> Path:
    """The path of a local name or of a URL.

    Raises StorageError where a URL is none that etils knows, MissingExtra where its package is not
    installed.
    """
    scheme, separator, rest = os.fspath(name).partition("://")
    if not separator:
        return pathlib.Path(name)
    if scheme == "gs":
        extras.require("gcsfs", "gcs")
    epath, fsspec = extras.require("etils.epath", "gcs"), _fsspec()
    try:
        fsspec.get_filesystem_class(scheme)
        found = epath.Path(name)
    except (ImportError, ValueError, NotImplementedError, KeyError) as error:
        raise StorageError(
            f"{name}: {scheme}:// cannot be used ({error}); expected gs://BUCKET/FOLDER or a folder"
        ) from error
    if not rest.strip("/"):
        raise StorageError(f"{name}: expected gs://BUCKET/FOLDER or a folder of a disk")
    return found


def is_remote(path: Path) -> bool:
    """Whether it is in a bucket."""
    return not isinstance(path, pathlib.Path)


def absolute(path: Path) -> Path:
    """The path from the root of its disk or bucket."""
    return path.absolute() if isinstance(path, pathlib.Path) else path


def make_folder(path: Path) -> None:
    """A folder and those above it; in a bucket a folder is no more than the names in it."""
    if isinstance(path, pathlib.Path):
        path.mkdir(parents=True, exist_ok=True)


def size(path: Path) -> int:
    """Bytes of a file. Raises FileNotFoundError, OSError where the storage does not say."""
    if isinstance(path, pathlib.Path):
        return path.stat().st_size
    try:
        return path.stat().length
    except OSError:
        raise
    except Exception as error:  # each library between here and the bucket has errors of its own
        raise OSError(f"{path}: {type(error).__name__}: {error}") from error


def free_bytes(folder: Path) -> int | None:
    """What may still be written to the disk of a folder; None of a bucket, which has no end."""
    return shutil.disk_usage(folder).free if isinstance(folder, pathlib.Path) else None


def create(path: Path, content: bytes) -> None:
    """An object of a bucket, made by one conditional request. Raises FileExistsError where there is
    one of this name."""
    _files_of(path).pipe_file(os.fspath(path), content, mode="create")


def move(source: Path, target: Path) -> None:
    """A file or folder under another name; what has that name already is replaced.

    In a bucket all of it is copied, then deleted: a stop in between leaves both.
    """
    if target.exists():
        remove(target)
    make_folder(target.parent)
    if is_remote(source):
        _files_of(source).copy(os.fspath(source), os.fspath(target), recursive=source.is_dir())
        remove(source)
    else:
        source.replace(target)


def remove(path: Path) -> None:
    """Deletes a file, or a folder with all that is in it."""
    if is_remote(path):
        _files_of(path).rm(os.fspath(path), recursive=True)
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def upload(source: pathlib.Path, target: Path) -> None:
    """A copy of a local file, or of what is in a local folder, in a bucket."""
    if source.is_dir():
        _files_of(target).put(f"{source}/", f"{target}/", recursive=True)
    else:
        _files_of(target).put_file(str(source), os.fspath(target))


def download(source: Path, target: pathlib.Path) -> None:
    """A local copy of a file of a bucket."""
    _files_of(source).get_file(os.fspath(source), str(target))


def require_access(folder: Path) -> None:
    """Raises StorageError unless objects of a bucket's folder can be created, read, listed and
    deleted: what a run needs, found out before it begins."""
    if not is_remote(folder):
        return
    probe = folder / f".access-{socket.gethostname()}-{os.getpid()}"
    _ask(folder, "storage.objects.create", lambda: probe.write_bytes(b"may this run write here?\n"))
    _ask(folder, "storage.objects.get", probe.read_bytes)
    _ask(folder, "storage.objects.list", lambda: list(folder.iterdir()))
    _ask(folder, "storage.objects.delete", probe.unlink)


def require_readable(folder: Path) -> None:
    """Raises StorageError where a bucket's folder cannot be listed; an empty one can."""
    if is_remote(folder):
        bucket = _bucket(folder)
        _ask(folder, "storage.objects.list", lambda: _files_of(folder).ls(bucket, detail=False))


def _ask(folder: Path, operation: str, request: Callable[[], Any]) -> None:
    """Makes a request of a bucket. Raises StorageError that says which one, and what to do."""
    try:
        request()
    except Exception as error:  # each library between here and the bucket has errors of its own
        code, text = getattr(error, "code", None), " ".join(str(error).split())[:300]
        if isinstance(error, FileNotFoundError):
            found, remedy = "there is no such bucket", "missing"
        elif code == 401:
            found, remedy = "not signed in", "credentials"
        elif isinstance(error, PermissionError) or code == 403 or text.startswith("Forbidden"):
            found, remedy = "not allowed", "forbidden"
        else:
            found, remedy = type(error).__name__, "other"
        bucket = _bucket(folder)
        raise StorageError(
            f"{folder}: {operation} in the bucket {bucket} failed: {found} ({text}); "
            f"{_REMEDIES[remedy].format(bucket=bucket)}"
        ) from error


def _bucket(path: Path) -> str:
    return os.fspath(path).partition("://")[2].partition("/")[0]


def _files_of(path: Path) -> Any:
    return _fsspec().url_to_fs(os.fspath(path))[0]


def _fsspec() -> Any:
    """The library. Raises MissingExtra."""
    fsspec: Any = extras.require("fsspec", "gcs")
    # Other processes write too, so what a folder held a moment ago says nothing.
    fsspec.config.conf.setdefault("gcs", {}).setdefault("use_listings_cache", False)
    return fsspec
