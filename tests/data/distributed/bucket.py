"""A store of objects for Beam, scheme bucket://: no folders, no appends, and nothing that `open`
could open, for objects lie under digests of their names. An object is there once it is closed."""

import hashlib
import io
import json
import os
import pathlib

from apache_beam.io.filesystem import (
    BeamIOError,
    CompressionTypes,
    FileMetadata,
    FileSystem,
)

ROOT = "VIDEOBERT_TEST_BUCKET"


class _Upload(io.BytesIO):
    def __init__(self, store, name):
        super().__init__()
        self._store, self._name = store, name

    def seekable(self):
        return False

    def close(self):
        if not self.closed:
            self._store.put(self._name, self.getvalue())
        super().close()


class BucketFileSystem(FileSystem):
    @classmethod
    def scheme(cls):
        return "bucket"

    def _place(self, name) -> pathlib.Path:
        return pathlib.Path(os.environ[ROOT]) / hashlib.sha256(name.encode()).hexdigest()

    def put(self, name, content):
        place = self._place(name)
        head = json.dumps(name).encode() + b"\n"
        temporary = place.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(head + content)
        temporary.replace(place)

    def get(self, name) -> bytes:
        try:
            return self._place(name).read_bytes().split(b"\n", 1)[1]
        except FileNotFoundError as error:
            raise BeamIOError(f"no object {name}") from error

    def join(self, basepath, *paths):
        return "/".join([basepath.rstrip("/"), *(path.strip("/") for path in paths)])

    def split(self, path):
        return path.rsplit("/", 1)

    def mkdirs(self, path):
        raise BeamIOError("buckets have no folders")

    def has_dirs(self):
        return False

    def _list(self, dir_or_prefix):
        for place in pathlib.Path(os.environ[ROOT]).iterdir():
            if place.suffix:
                continue
            head, _, content = place.read_bytes().partition(b"\n")
            if (name := json.loads(head)).startswith(dir_or_prefix):
                yield FileMetadata(name, len(content), place.stat().st_mtime)

    def create(self, path, mime_type="", compression_type=CompressionTypes.AUTO):
        return _Upload(self, path)

    def open(self, path, mime_type="", compression_type=CompressionTypes.AUTO):
        return io.BytesIO(self.get(path))

    def copy(self, source_file_names, destination_file_names):
        for source, target in zip(source_file_names, destination_file_names, strict=True):
            self.put(target, self.get(source))

    def rename(self, source_file_names, destination_file_names):
        self.copy(source_file_names, destination_file_names)
        self.delete(source_file_names)

    def exists(self, path):
        return self._place(path).is_file()

    def size(self, path):
        return len(self.get(path))

    def last_updated(self, path):
        return self._place(path).stat().st_mtime

    def checksum(self, path):
        return hashlib.sha256(self.get(path)).hexdigest()

    def metadata(self, path):
        return FileMetadata(path, self.size(path), self.last_updated(path))

    def delete(self, paths):
        for path in paths:
            if not self.exists(path):
                raise BeamIOError(f"no object {path}")
            self._place(path).unlink()


def objects(prefix: str) -> dict[str, bytes]:
    """Content of all objects below a prefix, by the rest of their names."""
    store = BucketFileSystem(None)
    return {
        found.path[len(prefix) :].lstrip("/"): store.get(found.path)
        for found in store._list(prefix)
    }
