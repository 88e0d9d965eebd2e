"""One part of a split while it is written: a shard of records and its piece of the index.

A part is finished when `SPLIT-00000.done` stands beside it in the folder `partial`; whatever is
there without that file is left over from an interruption and is written again.
"""

import dataclasses
import io
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import array_record.python.array_record_module as array_record_module
import numpy as np

from videobert_jax.data import index, record, statistics
from videobert_jax.data.segments import Segment, clips_of_segment
from videobert_jax.files import arrays, atomic, digests
from videobert_jax.schema import FeatureContract

# One record a chunk, so that a random read touches no other; features do not compress (8 % for
# 2.4 x slower reads).
WRITER_OPTIONS = "group_size:1,uncompressed"


def segments_digest(segments: Sequence[Segment]) -> str:
    """Digest of what the segments say, to notice a source that changed between two starts."""
    rows = [[s.start, s.end, s.text, dict(s.labels), list(s.clips or ())] for s in segments]
    return digests.sha256_json(rows)


@dataclasses.dataclass(frozen=True)
class FinishedPart:
    """What a finished part holds; `videos` rows are (name, digest of segments, of features)."""

    files: pathlib.Path  # folder and stem of its files
    num_records: int
    num_segments: int
    shard_bytes: int
    shard_sha256: str
    videos: list[list[str]]
    label_names: dict[str, list[str]]

    @property
    def shard(self) -> pathlib.Path:
        return self.files.with_name(self.files.name + ".array_record")

    def columns(self) -> dict[str, np.ndarray]:
        """Its piece of the index, `text` as uint8, and the moments of its features."""
        return arrays.read_npz(self.files.with_name(self.files.name + ".npz"))


def read_finished(files: pathlib.Path) -> FinishedPart | None:
    """The finished part of this stem, or None where it was never finished."""
    done = files.with_name(files.name + ".done")
    if not done.is_file():
        return None
    return FinishedPart(files=files, **json.loads(done.read_text(encoding="utf-8")))


class OpenPart:
    """A part being written. Memory: its index; records go to the disk as they come."""

    def __init__(self, files: pathlib.Path, contract: FeatureContract, first_video: int):
        self.files = files
        self.num_records = self.num_segments = 0
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
        self._writer: array_record_module.ArrayRecordWriter | None = None

    @property
    def _shard(self) -> pathlib.Path:
        return self.files.with_name(self.files.name + ".array_record")

    def add(self, name: str, features: np.ndarray | None, segments: Sequence[Segment]) -> None:
        """Appends a video. Raises ValueError on segments that do not fit its clips."""
        num_clips = 0 if features is None else len(features)
        spans = [clips_of_segment(segment, num_clips, self._contract) for segment in segments]
        video = self._first_video + len(self._videos)
        features_digest = ""
        self._num_clips.append(num_clips)
        self._record_start.append(self.num_records)
        if features is not None and num_clips:
            features_digest = digests.sha256_array(features)
            self._moments += statistics.Moments.of(features)
            self._write_records(features, video)
        for segment, (first, count) in zip(segments, spans, strict=True):
            text = segment.text.strip()
            caption = index.caption_hash(text)
            self._rows.append((video, segment.start, segment.end, first, count, caption))
            self._texts.append(text.encode("utf-8"))
            self._labels.append(segment.labels)
        self.num_segments += len(segments)
        self._videos.append([name, segments_digest(segments), features_digest])

    def _write_records(self, features: np.ndarray, video: int) -> None:
        writer = self._writer
        if writer is None:
            writer = array_record_module.ArrayRecordWriter(str(self._shard), WRITER_OPTIONS)
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
            "num_segments": self.num_segments,
            "shard_bytes": size,
            "shard_sha256": sha256,
            "videos": self._videos,
            "label_names": label_names,
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
        columns["text_length"] = np.array([len(text) for text in self._texts], np.int64)
        columns["moments_count"] = self._moments.count
        columns["moments_total"] = self._moments.total
        columns["moments_squares"] = self._moments.squares
        names = {}
        for kind in sorted({kind for labels in self._labels for kind in labels}):
            names[kind] = sorted({labels[kind] for labels in self._labels if kind in labels})
            place = {name: i for i, name in enumerate(names[kind])}
            ids = [place.get(labels.get(kind, ""), index.NO_LABEL) for labels in self._labels]
            columns[f"label_{kind}"] = np.array(ids, np.int32)
        return columns, names
