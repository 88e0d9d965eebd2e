"""Files below one folder through Beam's file systems: local disks and buckets alike.

Buckets take whole objects and no appends, and have no folders; so nothing here opens a file to
change it, and folders are only prefixes of names.
"""

import pathlib
import shutil

from apache_beam.io import filesystem, filesystems  # pyright: ignore[reportMissingImports] (an extra)

_FILES = filesystems.FileSystems
_AS_IT_IS = filesystem.CompressionTypes.UNCOMPRESSED


class Storage:
    """Names are relative to `root`, a local path or a URL such as gs://bucket/folder."""

    def __init__(self, root: str):
        self.root = root.rstrip("/")

    def _path(self, name: str) -> str:
        return _FILES.join(self.root, *name.split("/"))

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Bytes of each file that stands directly in a folder, by its name there."""
        prefix = self._path(folder) if folder else self.root
        found = _FILES.match([_FILES.join(prefix, "*")])[0].metadata_list
        names = {file.path[len(prefix) :].lstrip("/"): file.size_in_bytes for file in found}
        return {name: size for name, size in names.items() if "/" not in name}

    def read(self, name: str) -> bytes:
        """Content of a file."""
        with _FILES.open(self._path(name), compression_type=_AS_IT_IS) as file:
            return file.read()

    def write(self, name: str, content: bytes) -> None:
        """A file of `content`, there as a whole or not at all."""
        temporary = self._path(name + ".unfinished")
        with _FILES.create(temporary, compression_type=_AS_IT_IS) as file:
            file.write(content)
        self._move(temporary, self._path(name))

    def upload(self, file: pathlib.Path, name: str) -> None:
        """A copy of a local file."""
        with (
            open(file, "rb") as source,
            _FILES.create(self._path(name), compression_type=_AS_IT_IS) as target,
        ):
            shutil.copyfileobj(source, target, 1 << 20)

    def download(self, name: str, file: pathlib.Path) -> None:
        """A local copy of a file."""
        with (
            _FILES.open(self._path(name), compression_type=_AS_IT_IS) as source,
            open(file, "wb") as target,
        ):
            shutil.copyfileobj(source, target, 1 << 20)

    def move(self, name: str, to: str) -> None:
        """Renames a file."""
        self._move(self._path(name), self._path(to))

    def delete(self, folder: str) -> None:
        """Removes what stands directly in a folder, and the folder."""
        paths = [self._path(f"{folder}/{name}") for name in self.sizes(folder)]
        _FILES.delete(paths)
        if _FILES.exists(self._path(folder)):  # folders of a disk stay behind
            _FILES.delete([self._path(folder)])

    @staticmethod
    def _move(source: str, target: str) -> None:
        if source == target:
            return
        if _FILES.exists(target):  # some file systems rename over nothing only
            _FILES.delete([target])
        _FILES.rename([source], [target])
