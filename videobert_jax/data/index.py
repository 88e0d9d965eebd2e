"""A dataset on disk, opened: its splits, their captions and the shards of their clip features.

    DIR/dataset.json             name, digest, contract, splits, metadata; written last
    DIR/digests.json             sha256 and size of every other file
    DIR/NAME-train.array_record-00000-of-00002   records of clip features (data/record.py)
    DIR/index/train/COLUMN.npy   one value an example (EXAMPLE_COLUMNS) or a video (VIDEO_COLUMNS)
    DIR/index/train/text.bin     captions, UTF-8, one behind another; text_offset.npy [N + 1]
    DIR/index/train/videos.json  video names; DIR/index/train/label_KIND.npy int16, -1 for none
    DIR/statistics/{mean,scale}.npy, DIR/dataset_info.json, DIR/features.json (the last two: tfds)

Columns are memory-mapped, so opening costs the same for ten captions and for a hundred million.
"""

import concurrent.futures
import dataclasses
import functools
import mmap
import os
import pathlib
import unicodedata
from collections.abc import Iterable
from typing import Any

import numpy as np

from videobert_jax.data import index_files, intact, random_reads, record, shard_file
from videobert_jax.data.errors import REMEDY, DatasetError
from videobert_jax.files import digests, errors, json_values, storage, versions
from videobert_jax.schema import FeatureContract, InputStatistics

FORMAT = "videobert_jax.dataset"
FORMAT_VERSION = 1
DATASET_FILE, DIGESTS_FILE, TEXT_FILE, VIDEOS_FILE, RECORDS_FILE = (
    "dataset.json",
    "digests.json",
    "text.bin",
    "videos.json",
    "records.json",  # only in a copy without records: in which folder they are
)
EXAMPLE_COLUMNS = {
    "video": np.int32,
    "start": np.float32,
    "end": np.float32,
    "first_clip": np.int32,
    "clip_count": np.int32,
    "caption_hash": np.uint32,
}
VIDEO_COLUMNS = {"num_clips": np.int32, "record_start": np.int64}
ASKED = "asked"  # of metadata: options of the command that made the dataset
_OPENED_AT_A_TIME = 32  # shards, when a dataset is opened


def caption_hash(text: str) -> int:
    """Unsigned 32-bit hash of a caption as it is compared: NFKC, case and spacing ignored.

    0 stands for no caption and is never the hash of one.
    """
    normalised = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    if not normalised:
        return 0
    digest = bytes.fromhex(digests.sha256_bytes(normalised.encode("utf-8")))
    return int.from_bytes(digest[:4], "little") or 1


@dataclasses.dataclass(frozen=True)
class Labels:
    """Labels of one kind: their names and an index into them an example, -1 where it has none."""

    names: list[str]
    ids: np.ndarray  # int16 [N]


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """The examples of one split, in index order. N examples, V videos; columns are memory-mapped.

    An example covers the clips `first_clip` to `first_clip + clip_count` of its video
    (`clip_count` 0: text only) and the seconds `start` to `end`. Clip j of video v is place
    j % 16 of record `record_start[v] + j // 16`; records are counted through all shards.
    Pickles as its path: a copy opens the files anew.
    """

    path: pathlib.Path  # of the dataset
    name: str
    digest: str
    contract: FeatureContract
    videos: list[str]
    num_clips: np.ndarray  # int32 [V]
    record_start: np.ndarray  # int64 [V]
    video: np.ndarray  # int32 [N]
    start: np.ndarray  # float32 [N], seconds
    end: np.ndarray  # float32 [N], seconds
    first_clip: np.ndarray  # int32 [N]
    clip_count: np.ndarray  # int32 [N]
    text_offset: np.ndarray  # int64 [N + 1], bytes
    caption_hash: np.ndarray  # uint32 [N], 0 without a caption
    labels: dict[str, Labels]
    shard_paths: list[storage.Path]
    shard_records: list[int]
    record_format: record.RecordFormat

    def __len__(self) -> int:
        return len(self.video)

    def __reduce__(self):
        return _reopen_split, (self.path.absolute(), self.name, self.digest)

    @functools.cached_property
    def shard_starts(self) -> np.ndarray:
        """Number of the first record of each shard, and of all records: int64 [shards + 1]."""
        return np.concatenate([[0], np.cumsum(self.shard_records, dtype=np.int64)])

    @property
    def _text_file(self) -> pathlib.Path:
        return self.path / "index" / self.name / TEXT_FILE

    @functools.cached_property
    def _text(self) -> mmap.mmap | bytes:
        with open(self._text_file, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                return b""
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def texts(self, ids: Iterable[int | np.integer] | np.ndarray) -> list[str]:
        """Captions of examples, empty where one has none. Raises DatasetError on no UTF-8."""
        with errors.of_form(self._text_file, DatasetError, REMEDY):
            return self._texts(ids)

    def _texts(self, ids: Iterable[int | np.integer] | np.ndarray) -> list[str]:
        ids = ids if isinstance(ids, np.ndarray) else np.fromiter(ids, np.int64)
        begins = random_reads.take(self.text_offset, ids).tolist()
        ends = random_reads.take(self.text_offset, ids + 1).tolist()
        if self._text_file.stat().st_size > random_reads.MAPPED_BYTES:
            lengths = [b - a for a, b in zip(begins, ends, strict=True)]
            pieces = random_reads.pieces_of(self._text_file, begins, lengths)
            return [piece.decode("utf-8") for piece in pieces]
        text = self._text
        return [text[a:b].decode("utf-8") for a, b in zip(begins, ends, strict=True)]


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """An opened dataset: the folder at `path`, its `name`, the `digest` of all its files, the
    `contract` of its clip features, its `splits` by name. `statistics` is None where no split named
    train* has clip features.

    metadata is free; known keys: "regime", "label_surface_forms", "templates", "notes",
    and ASKED, which is not in the digest.
    """

    path: pathlib.Path
    name: str
    digest: str
    contract: FeatureContract
    statistics: InputStatistics | None
    splits: dict[str, Split]
    metadata: dict[str, Any]

    def annotations(self, split: str) -> list[dict[str, Any]]:
        """Ground truth beyond segments: an entry a video of the split, in its order of videos.

        Raises DatasetError where the split has none.
        """
        file = self.path / annotations_file(split)
        if not file.is_file():
            raise DatasetError(
                f"{self.path}: split {split!r} has no annotations, there is no "
                f"{annotations_file(split)}; choose another split, or a dataset that has them"
            )
        with errors.of_form(file, DatasetError, REMEDY):
            text = file.read_text(encoding="utf-8")  # may hold other separators of lines than "\n"
            return [json_values.parse(line) for line in text.split("\n") if line]

    def split(self, name: str) -> Split:
        """The split of this name; raises DatasetError naming those that exist."""
        if name not in self.splits:
            raise DatasetError(
                f"{self.path}: no split {name!r}; this dataset ({self.name}) has "
                f"{', '.join(self.splits)}"
            )
        return self.splits[name]


def annotations_file(split: str) -> str:
    """Where a split's annotations are, from the dataset's folder: JSON, a video a line."""
    return f"annotations/{split}.jsonl"


def open_dataset(path: str | os.PathLike, *, check_shards: bool = True) -> Dataset:
    """Dataset of a prepared directory.

    `check_shards` opens every shard and counts its records, and compares all files with their
    digests (large shards with their sizes alone: data/intact.py). Raises DatasetError where a file
    is missing, truncated, another than written, or holds another number of records or values, where
    a caption file is empty, and where the directory is no finished dataset.
    """
    path = pathlib.Path(path)
    with errors.of_form(path, DatasetError, REMEDY):
        return _open_dataset(path, check_shards)


def _open_dataset(path: pathlib.Path, check_shards: bool) -> Dataset:
    description = read_description(path)
    contract = FeatureContract.from_json(description["contract"])
    splits = {name: _open_split(path, name, description) for name in description["splits"]}
    if check_shards:
        # Many at a time: a large dataset has thousands, and a bucket answers each late.
        with concurrent.futures.ThreadPoolExecutor(_OPENED_AT_A_TIME) as threads:
            for split in splits.values():
                list(threads.map(shard_file.open_shard, split.shard_paths, split.shard_records))
    statistics = None
    if description["statistics"]:
        mean = index_files.read_column(path / "statistics" / "mean.npy", contract.dim, np.float32)
        scale = index_files.read_column(path / "statistics" / "scale.npy", contract.dim, np.float32)
        statistics = InputStatistics(mean, scale)
    if check_shards:
        written, records = read_digests(path), original(path)
        intact.check(
            {path / name: said for name, said in written.items() if not is_shard(name)},
            {records / name: said for name, said in written.items() if is_shard(name)},
        )
    return Dataset(
        path=path,
        name=description["name"],
        digest=description["digest"],
        contract=contract,
        statistics=statistics,
        splits=splits,
        metadata=description["metadata"],
    )


def read_description(path: str | os.PathLike) -> dict[str, Any]:
    """Content of dataset.json; DatasetError where it is missing, changed or not of this format."""
    file = pathlib.Path(path) / DATASET_FILE
    if not file.is_file():
        if not file.parent.is_dir():
            found = "there is no such directory"
        elif (file.parent / "partial").is_dir():
            found = "an interrupted preparation is there; run the same prepare command to finish it"
        else:
            found = f"no {DATASET_FILE} is there"
        raise DatasetError(
            f"{file.parent}: not a prepared dataset: {found}; expected a directory written by "
            "'videobert prepare NAME --output DIR'"
        )
    try:
        content = file.read_bytes()
        description = json_values.parse(content)
        form = (description["format"], description["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{file}: damaged ({type(error).__name__}: {error}); {REMEDY}"
        ) from error
    if form != (FORMAT, FORMAT_VERSION):
        remedy = versions.newer(form[1], FORMAT_VERSION) or REMEDY
        raise DatasetError(f"{file}: format {form}, expected {(FORMAT, FORMAT_VERSION)}; {remedy}")
    expected = read_digests(file.parent)[DATASET_FILE]["sha256"]
    if (found := digests.sha256_bytes(content)) != expected:
        raise DatasetError(
            f"{file}: sha256 {found}, but {DIGESTS_FILE} says {expected}: changed since it was "
            f"written; {REMEDY}"
        )
    return description


def read_digests(path: pathlib.Path) -> dict[str, dict[str, Any]]:
    """{file: {"sha256", "bytes"}} of a dataset's other files; raises DatasetError."""
    file = path / DIGESTS_FILE
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DatasetError(f"{file}: not readable ({error}); {REMEDY}") from error
    return parse_digests(content, str(file))


def parse_digests(content: bytes, file: str) -> dict[str, dict[str, Any]]:
    """What digests.json says, called `file` in errors; raises DatasetError."""
    try:
        files = json_values.parse(content)["files"]
        damaged = [
            name
            for name, fields in files.items()
            if not isinstance(fields["sha256"], str) or not isinstance(fields["bytes"], int)
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{file}: not readable ({error}); {REMEDY}") from error
    outside = [name for name in files if not index_files.is_inside(name)]
    if outside:  # it would be written there by a copy
        raise DatasetError(f"{file}: names {outside[0]!r:.80}, outside of the dataset; {REMEDY}")
    if damaged or DATASET_FILE not in files:
        raise DatasetError(f"{file}: no digest of {(damaged or [DATASET_FILE])[0]}; {REMEDY}")
    return files


def is_shard(name: str) -> bool:
    """Whether a file of a dataset holds records."""
    return ".array_record-" in name


def original(path: pathlib.Path) -> storage.Path:
    """Where a dataset's records are: its folder, or what a copy without them is a copy of."""
    elsewhere = path / RECORDS_FILE
    if elsewhere.is_file():
        with errors.of_form(elsewhere, DatasetError, REMEDY):
            return storage.path(json_values.parse(elsewhere.read_text())["folder"])
    return path


def _open_split(path: pathlib.Path, name: str, description: dict[str, Any]) -> Split:
    fields = description["splits"][name]
    named = [name, *fields["labels"], *(shard["file"] for shard in fields["shards"])]
    if strange := [one for one in named if not index_files.is_inside(one) or "/" in one]:
        raise DatasetError(f"{path / DATASET_FILE}: the file name {strange[0]!r:.80}; {REMEDY}")
    folder, records = path / "index" / name, original(path)
    examples, videos = fields["num_examples"], fields["num_videos"]
    columns = {
        k: index_files.read_column(folder / f"{k}.npy", examples, d)
        for k, d in EXAMPLE_COLUMNS.items()
    }
    columns |= {
        k: index_files.read_column(folder / f"{k}.npy", videos, d) for k, d in VIDEO_COLUMNS.items()
    }
    columns["text_offset"] = index_files.read_column(
        folder / "text_offset.npy", examples + 1, np.int64
    )
    index_files.check_text(
        folder / TEXT_FILE, int(columns["text_offset"][-1]), fields["num_captions"]
    )
    names = index_files.read_names(folder / VIDEOS_FILE, videos)
    labels = {
        kind: Labels(
            values, index_files.read_column(folder / f"label_{kind}.npy", examples, np.int16)
        )
        for kind, values in fields["labels"].items()
    }
    contract = FeatureContract.from_json(description["contract"])
    record_format = record.RecordFormat(contract.dim)
    written = (description["record"]["features_offset"], description["record"]["num_bytes"])
    expected = (record_format.features_offset, record_format.num_bytes)
    if written != expected:
        raise DatasetError(
            f"{path / DATASET_FILE}: records with (offset, length) {written}, this version reads "
            f"{expected} for {contract.dim} dimensions; {REMEDY}"
        )
    return Split(
        path=path,
        name=name,
        digest=fields["digest"],
        contract=contract,
        videos=names,
        labels=labels,
        shard_paths=[records / shard["file"] for shard in fields["shards"]],
        shard_records=[shard["records"] for shard in fields["shards"]],
        record_format=record_format,
        **columns,
    )


def _reopen_split(path: pathlib.Path, name: str, digest: str) -> Split:
    split = _open_split(path, name, read_description(path))
    if split.digest != digest:
        raise DatasetError(
            f"{path}: split {name} has digest {split.digest}, expected {digest}: the dataset was "
            "replaced while it was in use; start again"
        )
    return split
