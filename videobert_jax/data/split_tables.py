"""Files that say something of a split's examples: mapped columns, and of which split they are.

A file is named by its path, or as "FILE@DIGEST": of this digest, which may be cut short, alone.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.numpy

from videobert_jax.data.index import Split
from videobert_jax.files import atomic, digests, errors, json_values, tensors, versions

_DIGITS = 12  # of a digest that a name has at least


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """What a file says: `columns` by name, mapped, and `about` them. digest: of all of it."""

    path: pathlib.Path
    digest: str
    about: dict[str, Any]
    columns: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Format:
    """A kind of such files: `what` one is, the `command` that makes it, the `setting` of a source
    that names it, the `error` raised of it, its `columns`. key: of the rest, in its metadata."""

    name: str
    version: int
    key: str
    columns: tuple[str, ...]
    what: str
    command: str
    setting: str
    error: type[ValueError]

    @property
    def remedy(self) -> str:
        return f"make the file anew with `videobert {self.command}`"

    def write(
        self,
        path: str | os.PathLike,
        split: Split,
        columns: Mapping[str, np.ndarray],
        about: Mapping[str, Any],
    ) -> str:
        """Writes columns of a split, and gives their name, "FILE@DIGEST"; the file appears only
        when whole."""
        told = {
            **about,
            "format": self.name,
            "format_version": self.version,
            "split": split.name,
            "split_digest": split.digest,
            "num_examples": len(split),
            "columns": {name: digests.sha256_array(column) for name, column in columns.items()},
        }
        metadata = {self.key: json.dumps(told, sort_keys=True)}
        atomic.write_bytes(path, safetensors.numpy.save(dict(columns), metadata))
        return _named(path, digests.sha256_json(told))

    def load(self, name: str | os.PathLike) -> Table:
        """The table that is named. Raises the format's error where the file is none, damaged, or
        has another digest."""
        file, digest = _split(os.fspath(name))
        path = pathlib.Path(file)
        with errors.of_form(path, self.error, self.remedy):
            table = self._load(path)
        if not table.digest.startswith(digest):
            raise self.error(
                f"{path}: it has the digest {table.digest[: max(len(digest), _DIGITS)]}, expected "
                f"{digest}: another file than the settings name; put that one there, or name "
                f"{_named(path, table.digest)}."
            )
        return table

    def reload(self, path: pathlib.Path, digest: str) -> Table:
        """The table of this digest again. Raises the format's error where it is another now."""
        found = self.load(path)
        if found.digest != digest:
            raise self.error(
                f"{path}: digest {found.digest}, expected {digest}: the file was replaced while it "
                "was in use; start again"
            )
        return found

    def require_split(self, path: pathlib.Path, about: Mapping[str, Any], split: Split) -> None:
        """Raises the format's error unless the file, with what is `about` it, is of this split."""
        if about["split_digest"] != split.digest:
            raise self.error(
                f"{path}: it is of split {about['split']!r} of {about['dataset']} "
                f"({about['split_digest'][:12]}), but the source is split {split.name!r} of "
                f"{split.path} ({split.digest[:12]}); make one of it with "
                f"`videobert {self.command}`, or leave data.sources.NAME.{self.setting} empty."
            )

    def _load(self, path: pathlib.Path) -> Table:
        try:
            metadata, columns = tensors.mapped(path)
            about = json_values.parse(metadata.get(self.key, "{}"))
        except (OSError, ValueError) as error:
            raise self.error(f"{path}: not {self.what} ({error}); {self.remedy}") from error
        form, expected = (
            (about.get("format"), about.get("format_version")),
            (self.name, self.version),
        )
        if form != expected:
            remedy = versions.newer(form[1], self.version) or self.remedy
            raise self.error(f"{path}: format {form}, expected {expected}; {remedy}")
        found = {name: digests.sha256_array(column) for name, column in columns.items()}
        if found != about["columns"]:
            raise self.error(f"{path}: other columns than were written: damaged; {self.remedy}")
        if set(found) != set(self.columns):
            raise self.error(
                f"{path}: columns {sorted(found)}, expected {sorted(self.columns)}; {self.remedy}"
            )
        return Table(path, digests.sha256_json(about), about, columns)


def _named(path: str | os.PathLike, digest: str) -> str:
    return f"{os.fspath(path)}@{digest[:_DIGITS]}"


def _split(name: str) -> tuple[str, str]:
    """(FILE, DIGEST or "")."""
    file, _, digest = name.rpartition("@")
    is_digest = len(digest) >= _DIGITS and not set(digest) - set("0123456789abcdef")
    return (file, digest) if file and is_digest and not os.path.exists(name) else (name, "")
