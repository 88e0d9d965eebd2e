"""One part of a split while it is written: a shard of records and its piece of the index.

A part is finished when `SPLIT-00000.done` stands beside it in the folder `partial`; whatever is
there without that file is left over from an interruption and is written again.
"""

import contextlib
import dataclasses
import io
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from videobert_jax.data import index, record, statistics
from videobert_jax.data.importers.source import FeatureError
from videobert_jax.data.segments import Segment, check_segments, clips_of_segment
from videobert_jax.files import arrays, atomic, digests, errors, extras, json_values
from videobert_jax.schema import NO_LABEL, FeatureContract

# One record a chunk, so that a random read touches no other; features do not compress (8 % for
# 2.4 x slower reads).
WRITER_OPTIONS = "group_size:1,uncompressed"
_REMEDY = "delete the folder `partial` and prepare the dataset anew"


Features = np.ndarray | Callable[[], np.ndarray] | None
Annotation = Mapping[str, Any] | None
# What becomes of a video whose features cannot be read: an error; its segments without clips, for
# whoever counts them as misses; or nothing but its name, which keeps the number of the next.
Damaged = Literal["refuse", "keep", "empty"]


@dataclasses.dataclass(frozen=True)
class PartSize:
    """A part is closed behind the video that fills it, by what is known before features are read:
    so parts are the same whoever writes them, one after another or on many machines."""

    videos: int = 512
    segments: int = 65536

    def __post_init__(self) -> None:
        if min(self.videos, self.segments) < 1:
            raise ValueError(f"parts of {self.videos} videos and {self.segments} segments")

    def is_reached(self, videos: int, segments: int) -> bool:
        return videos >= self.videos or segments >= self.segments


def digest(segments: Sequence[Segment], annotation: Annotation) -> str:
    """Digest of what is said of a video, to notice a source that changed between two starts."""
    rows = [[s.start, s.end, s.text, dict(s.labels), list(s.clips or ())] for s in segments]
    return digests.sha256_json([rows, annotation])


@dataclasses.dataclass(frozen=True)
class FinishedPart:
    """What a finished part holds; `videos` rows are (name, digest of what is said, of features),
    `failures` rows (name, reason)."""

    files: pathlib.Path  # folder and stem of its files
    num_records: int
    num_segments: int
    num_annotations: int
    shard_bytes: int
    shard_sha256: str
    videos: list[list[str]]
    label_names: dict[str, list[str]]
    failures: list[list[str]]

    @property
    def shard(self) -> pathlib.Path:
        return self.files.with_name(self.files.name + ".array_record")

    def missing(self, output: str) -> index.DatasetError:
        """The error of a shard that is gone, or of another size than it was written with."""
        return index.DatasetError(
            f"{self.shard.name}: missing or not of {self.shard_bytes} bytes as when it was "
            f"written; remove {output} and prepare the dataset anew"
        )

    def columns(self) -> dict[str, np.ndarray]:
        """Its piece of the index, `text` and `annotations` (JSON, a line a video) as uint8, and
        the moments of its features."""
        file = self.files.with_name(self.files.name + ".npz")
        with errors.of_form(file, index.DatasetError, _REMEDY):
            try:
                return arrays.read_npz(file)
            except arrays.ArrayFileError as error:
                raise index.DatasetError(str(error)) from error


def read_finished(files: pathlib.Path) -> FinishedPart | None:
    """The finished part of this stem, or None where it was never finished."""
    done = files.with_name(files.name + ".done")
    if not done.is_file():
        return None
    with errors.of_form(done, index.DatasetError, _REMEDY):
        return FinishedPart(files=files, **json_values.parse(done.read_bytes()))


@contextlib.contextmanager
def errors_of(split: str, video: str) -> Iterator[None]:
    """Names the video in what goes wrong: ValueError becomes DatasetError."""
    try:
        yield
    except ValueError as error:
        raise index.DatasetError(f"{split}: video {video!r}: {error}") from error


def check_video(name: str, segments: Sequence[Segment], known: set[str]) -> None:
    """Raises ValueError on times that cannot be, on a name that is no text, and on a second video
    of a name; else adds it to the known ones."""
    if not isinstance(name, str):
        raise ValueError(f"its name is of type {type(name).__name__}, expected a text")
    if name in known:
        raise ValueError("it was given twice; a split names each video once")
    check_segments(segments)
    known.add(name)


class OpenPart:
    """A part being written. Memory: its index; records go to the disk as they come."""

    def __init__(self, files: pathlib.Path, contract: FeatureContract, first_video: int):
        self.files = files
        self.num_records = 0
        self._contract = contract
        self._format = record.RecordFormat(contract.dim)
        self._first_video = first_video
        self._moments = statistics.Moments.zero(contract.dim)
        self._videos: list[list[str]] = []
        self._num_clips: list[int] = []
        self._record_start: list[int] = []
        self._rows: list[tuple[int, float, float, int, int, int]] = []
        self._texts: list[bytes] = []
        self._labels: list[Mapping[str, str]] = []
        self._annotations: list[str] = []
        self._failures: list[list[str]] = []
        self._writer: Any = None  # array_record's, when there is something to write

    @property
    def _shard(self) -> pathlib.Path:
        return self.files.with_name(self.files.name + ".array_record")

    def add(
        self,
        name: str,
        features: Features,
        segments: Sequence[Segment],
        annotation: Annotation = None,
        damaged: Damaged = "refuse",
    ) -> None:
        """Appends a video: features `[n, dim]` float16, a function that makes them, or None.

        Raises ValueError on features of another form and segments that do not fit their clips,
        FeatureError where features cannot be read and `damaged` is to refuse them.
        """
        said = digest(segments, annotation)
        try:
            values = features() if callable(features) else features
        except FeatureError as error:
            if damaged == "refuse":
                raise
            self._failures.append([name, str(error)])
            values, segments = None, segments if damaged == "keep" else ()
        self._check(values)
        num_clips = 0 if values is None else len(values)
        spans = [clips_of_segment(segment, num_clips, self._contract) for segment in segments]
        video = self._first_video + len(self._videos)
        features_digest = ""
        self._num_clips.append(num_clips)
        self._record_start.append(self.num_records)
        if values is not None and num_clips:
            features_digest = digests.sha256_array(values)
            self._moments += statistics.Moments.of(values)
            self._write_records(values, video)
        for segment, (first, count) in zip(segments, spans, strict=True):
            text = segment.text.strip()
            caption = index.caption_hash(text)
            self._rows.append((video, segment.start, segment.end, first, count, caption))
            self._texts.append(text.encode("utf-8"))
            self._labels.append(segment.labels)
        if annotation is not None:
            self._annotations.append(json.dumps(annotation, ensure_ascii=False) + "\n")
        self._videos.append([name, said, features_digest])

    def _check(self, features: np.ndarray | None) -> None:
        if features is None:
            return
        expected = f"float16 [clips, {self._contract.dim}]"
        if features.ndim != 2 or features.shape[1] != self._contract.dim:
            raise ValueError(f"features of shape {list(features.shape)}, expected {expected}")
        if features.dtype != np.float16:
            raise ValueError(f"features of {features.dtype}, expected {expected}: cast them")

    def _write_records(self, features: np.ndarray, video: int) -> None:
        writer = self._writer
        if writer is None:
            module: Any = extras.require("array_record.python.array_record_module", "train")
            writer = module.ArrayRecordWriter(str(self._shard), WRITER_OPTIONS)
            self._writer = writer
        for first in range(0, len(features), record.CLIPS_PER_RECORD):
            clips = features[first : first + record.CLIPS_PER_RECORD]
            writer.write(self._format.serialise(clips, video, first))
            self.num_records += 1

    def abandon(self) -> None:
        """Lets go of the file; the part stays unfinished."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def finish(self) -> FinishedPart:
        """Closes the shard, writes the index beside it and, last, the file that says finished."""
        size, sha256 = 0, ""
        if self._writer is not None:
            self.abandon()
            with open(self._shard, "rb+") as file:
                os.fsync(file.fileno())
            size, sha256 = self._shard.stat().st_size, digests.sha256_file(self._shard)
        columns, label_names = self._columns()
        archive = io.BytesIO()
        np.savez(archive, **columns)
        atomic.write_bytes(self.files.with_name(self.files.name + ".npz"), archive.getvalue())
        fields: dict[str, Any] = {
            "num_records": self.num_records,
            "num_segments": len(self._rows),
            "num_annotations": len(self._annotations),
            "shard_bytes": size,
            "shard_sha256": sha256,
            "videos": self._videos,
            "label_names": label_names,
            "failures": self._failures,
        }
        atomic.write_json(self.files.with_name(self.files.name + ".done"), fields, indent=None)
        return FinishedPart(files=self.files, **fields)

    def _columns(self) -> tuple[dict[str, Any], dict[str, list[str]]]:
        values = list(zip(*self._rows, strict=True)) or [()] * len(index.EXAMPLE_COLUMNS)
        columns = {
            name: np.array(column, dtype)
            for (name, dtype), column in zip(index.EXAMPLE_COLUMNS.items(), values, strict=True)
        }
        columns["num_clips"] = np.array(self._num_clips, np.int32)
        columns["record_start"] = np.array(self._record_start, np.int64)
        columns["text"] = np.frombuffer(b"".join(self._texts), np.uint8)
        annotations = "".join(self._annotations).encode("utf-8")
        columns["annotations"] = np.frombuffer(annotations, np.uint8)
        columns["text_length"] = np.array([len(text) for text in self._texts], np.int64)
        columns["moments_count"] = self._moments.count
        columns["moments_total"] = self._moments.total
        columns["moments_squares"] = self._moments.squares
        names = {}
        for kind in sorted({kind for labels in self._labels for kind in labels}):
            names[kind] = sorted({labels[kind] for labels in self._labels if kind in labels})
            place = {name: i for i, name in enumerate(names[kind])}
            ids = [place.get(labels.get(kind, ""), NO_LABEL) for labels in self._labels]
            columns[f"label_{kind}"] = np.array(ids, np.int32)
        return columns, names
