"""index.json, written last: what an index holds, by which model, and the digest of its vectors."""

import dataclasses
import json
import pathlib
import typing
from typing import Any

from videobert_jax.files import atomic, digests, errors, json_values
from videobert_jax.inference.model import PretrainedModel
from videobert_jax.schema import FeatureContract
from videobert_jax.search_index.errors import SearchIndexError
from videobert_jax.search_index.windows import Windows

FILE = "index.json"
FORMAT = "videobert_jax.search_index"
FORMAT_VERSION = 1
AUTO, EXACT, APPROXIMATE = "auto", "exact", "approximate"
KINDS = (AUTO, EXACT, APPROXIMATE)
_Kind = typing.TypeVar("_Kind")


@dataclasses.dataclass(frozen=True)
class Maker:
    """The model that embeds: its name, step and parameters' digest, and where it was loaded from
    ("" where that is not known). dim: of its vectors."""

    name: str
    step: int
    digest: str
    checkpoint: str
    dim: int
    contract: FeatureContract

    @classmethod
    def of(cls, model: PretrainedModel, checkpoint: str) -> "Maker":
        bundle = model.bundle
        dim = bundle.config.joint_dim
        return cls(bundle.name, bundle.step, bundle.digest, checkpoint, dim, bundle.contract)

    def __str__(self) -> str:
        return f"{self.name} step {self.step} ({self.digest[:12]})"


@dataclasses.dataclass(frozen=True)
class File:
    """An indexed file: `number` names it in the vectors, `key` its state (`Source.key`)."""

    number: int
    path: str
    key: str
    clips: int
    windows: int


@dataclasses.dataclass(frozen=True)
class Vectors:
    """The file of vectors that is searched. Of an approximate one: `lists` in which vectors lie,
    `probes` of them that a query reads, `trained` vectors when lists were last fitted, and the
    `recall` at 10 that was measured then; 0 of an exact one."""

    file: str
    kind: str
    size: int
    sha256: str
    lists: int
    probes: int
    trained: int
    recall: float | int


@dataclasses.dataclass(frozen=True)
class Manifest:
    """All that is known of an index. vectors: None until it has segments. failures: what could not
    be indexed in the last run, {"file", "reason"} each."""

    maker: Maker
    windows: Windows
    kind: str
    files: tuple[File, ...]
    vectors: Vectors | None
    next_number: int
    failures: tuple[dict[str, str], ...]

    @property
    def num_windows(self) -> int:
        return sum(file.windows for file in self.files)

    @property
    def about(self) -> str:
        """Digest of how vectors are made, which every shard has."""
        windows = dataclasses.asdict(self.windows)
        return digests.sha256_json({"model": self.maker.digest, "windows": windows})

    def require_maker(self, model: PretrainedModel, folder: pathlib.Path) -> None:
        """Raises SearchIndexError where another model made the index."""
        found = Maker.of(model, "")
        if found.digest != self.maker.digest or found.contract != self.maker.contract:
            at = f", {self.maker.checkpoint}" if self.maker.checkpoint else ""
            raise SearchIndexError(
                f"{folder} was made by {self.maker}{at}, the model given is {found}: their vectors "
                "cannot be compared. Give the index's model, or index the videos by this one into "
                "another folder."
            )


def read(folder: pathlib.Path) -> Manifest:
    """Manifest of an index. Raises SearchIndexError where there is none, where it is damaged, and
    where it is of another version."""
    path = folder / FILE
    if not path.is_file():
        raise SearchIndexError(
            f"{folder} holds no search index ({FILE} is not there); make one with "
            "`videobert index VIDEOS --checkpoint=CHECKPOINT --output=FOLDER`."
        )
    try:
        fields = json_values.parse(path.read_bytes())
        if fields["format"] != FORMAT:
            raise SearchIndexError(
                f"{path} is of the format {fields['format']!r:.60}, not {FORMAT}."
            )
        version = fields["version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, SearchIndexError):
            raise
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if version != FORMAT_VERSION:
        raise SearchIndexError(
            f"{path} has the version {version!r}, this package reads {FORMAT_VERSION}; "
            "update videobert-jax, or index the videos again into another folder."
        )
    claimed = fields.pop("sha256", None)
    if claimed != digests.sha256_json(fields):
        raise _damaged(path, "its content is not what was written")
    with errors.of_form(path, SearchIndexError, "index the videos again"):
        return _from_json(fields)


def write(folder: pathlib.Path, manifest: Manifest) -> None:
    """Writes the manifest, which makes everything that it names the index's."""
    fields = {"format": FORMAT, "version": FORMAT_VERSION, **dataclasses.asdict(manifest)}
    fields = json.loads(json.dumps(fields, allow_nan=False))  # tuples as they are read
    fields["sha256"] = digests.sha256_json(fields)
    atomic.write_json(folder / FILE, fields)


def _from_json(fields: dict[str, Any]) -> Manifest:
    maker, vectors = fields["maker"], fields["vectors"]
    contract = FeatureContract.from_json(maker["contract"])
    named = [file["key"] for file in fields["files"]] + ([vectors["file"]] if vectors else [])
    if strange := [name for name in named if pathlib.PurePath(name).name != name]:
        raise ValueError(f"{strange[0]!r:.80} is no name of a file in the index's folder")
    return Manifest(
        maker=_typed(Maker, {**maker, "contract": contract}),
        windows=_typed(Windows, fields["windows"]),
        kind=fields["kind"],
        files=tuple(_typed(File, file) for file in fields["files"]),
        vectors=_typed(Vectors, vectors) if vectors is not None else None,
        next_number=fields["next_number"],
        failures=tuple(fields["failures"]),
    )


def _typed(kind: type[_Kind], fields: dict[str, Any]) -> _Kind:
    """A dataclass of fields, each of the very type that it says: true is no number."""
    for name, hint in typing.get_type_hints(kind).items():
        if name in fields and type(fields[name]) not in (typing.get_args(hint) or (hint,)):
            raise TypeError(f"{kind.__name__.lower()}.{name} is {fields[name]!r:.40}")
    return kind(**fields)


def _damaged(path: pathlib.Path, found: str) -> SearchIndexError:
    return SearchIndexError(
        f"{path} is damaged ({found}); delete it and run `videobert index` again: vectors that are "
        "there already are taken over."
    )
