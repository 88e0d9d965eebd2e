"""Files that say something of a split's examples: mapped columns, and of which split they are.

A file is named by its path, or as "FILE@DIGEST": of this digest, which may be cut short, alone.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np
import safetensors.numpy

from videobert_jax.data.index import Split
from videobert_jax.files import atomic, digests, errors, json_values, tensors, versions

_DIGITS = 12  # of a digest that a name has at least
Made = TypeVar("Made", bound="Table")


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of such files: `what` one is, the `command` that makes it, the `setting` of a source
    that names it, and the `error` raised of it."""

    name: str
    version: int
    what: str
    command: str
    setting: str
    error: type[ValueError]

    @property
    def remedy(self) -> str:
        return f"make the file anew with `videobert {self.command}`"


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """What a file of a kind says. A kind's further fields are its columns, mapped; its metadata
    has what is `about` them, by the name of its setting. digest: of all. Pickles as its path."""

    KIND: ClassVar[Kind]

    path: pathlib.Path
    digest: str
    about: dict[str, Any]

    def __reduce__(self):
        return _reload, (type(self), self.path.absolute(), self.digest)

    @classmethod
    def columns(cls) -> list[str]:
        """Names of the kind's columns."""
        shared = {field.name for field in dataclasses.fields(Table)}
        return [field.name for field in dataclasses.fields(cls) if field.name not in shared]

    @classmethod
    def write(
        cls,
        path: str | os.PathLike,
        split: Split,
        columns: Mapping[str, np.ndarray],
        about: Mapping[str, Any],
    ) -> str:
        """Writes columns of a split, and gives their name, "FILE@DIGEST"; the file appears only
        when whole."""
        told = {
            **about,
            "format": cls.KIND.name,
            "format_version": cls.KIND.version,
            "split": split.name,
            "split_digest": split.digest,
            "num_examples": len(split),
            "columns": {name: digests.sha256_array(column) for name, column in columns.items()},
        }
        metadata = {cls.KIND.setting: json.dumps(told, sort_keys=True)}
        atomic.write_bytes(path, safetensors.numpy.save(dict(columns), metadata))
        return _named(path, digests.sha256_json(told))

    @classmethod
    def load(cls: type[Made], name: str | os.PathLike) -> Made:
        """The table that is named. Raises the kind's error where the file is none, damaged, or has
        another digest."""
        file, digest = _split(os.fspath(name))
        path = pathlib.Path(file)
        with errors.of_form(path, cls.KIND.error, cls.KIND.remedy):
            table = cls._load(path)
        if not table.digest.startswith(digest):
            raise cls.KIND.error(
                f"{path}: it has the digest {table.digest[: max(len(digest), _DIGITS)]}, expected "
                f"{digest}: another file than the settings name; put that one there, or name "
                f"{_named(path, table.digest)}."
            )
        return table

    @classmethod
    def _load(cls: type[Made], path: pathlib.Path) -> Made:
        kind = cls.KIND
        try:
            metadata, columns = tensors.mapped(path)
            about = json_values.parse(metadata.get(kind.setting, "{}"))
        except (OSError, ValueError) as error:
            raise kind.error(f"{path}: not {kind.what} ({error}); {kind.remedy}") from error
        form = about.get("format"), about.get("format_version")
        if form != (kind.name, kind.version):
            remedy = versions.newer(form[1], kind.version) or kind.remedy
            raise kind.error(
                f"{path}: format {form}, expected {(kind.name, kind.version)}; {remedy}"
            )
        found = {name: digests.sha256_array(column) for name, column in columns.items()}
        if found != about["columns"]:
            raise kind.error(f"{path}: other columns than were written: damaged; {kind.remedy}")
        if set(found) != set(cls.columns()):
            raise kind.error(
                f"{path}: columns {sorted(found)}, expected {sorted(cls.columns())}; {kind.remedy}"
            )
        return cls(path, digests.sha256_json(about), about, **columns)

    def require_split(self, split: Split) -> None:
        """Raises the kind's error unless the table is of this very split."""
        about, kind = self.about, self.KIND
        if about["split_digest"] != split.digest:
            raise kind.error(
                f"{self.path}: it is of split {about['split']!r} of {about['dataset']} "
                f"({about['split_digest'][:12]}), but the source is split {split.name!r} of "
                f"{split.path} ({split.digest[:12]}); make one of it with "
                f"`videobert {kind.command}`, or leave data.sources.NAME.{kind.setting} empty."
            )


def _reload(kind: type[Table], path: pathlib.Path, digest: str) -> Table:
    """The table of this digest again. Raises the kind's error where it is another now."""
    found = kind.load(path)
    if found.digest != digest:
        raise kind.KIND.error(
            f"{path}: digest {found.digest}, expected {digest}: the file was replaced while it was "
            "in use; start again"
        )
    return found


def _named(path: str | os.PathLike, digest: str) -> str:
    return f"{os.fspath(path)}@{digest[:_DIGITS]}"


def _split(name: str) -> tuple[str, str]:
    """(FILE, DIGEST or "")."""
    file, _, digest = name.rpartition("@")
    is_digest = len(digest) >= _DIGITS and not set(digest) - set("0123456789abcdef")
    return (file, digest) if file and is_digest and not os.path.exists(name) else (name, "")
