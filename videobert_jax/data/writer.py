"""Writes a dataset that can be interrupted at any moment and goes on where it was.

Videos are gathered into parts (data/part.py); a finished part is never written again. `finish`
joins the pieces of the index, puts the shards under their final names, and writes dataset.json
last: a directory with that file is complete.
"""

import json
import pathlib
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from videobert_jax.data import columns, index, part, record, statistics
from videobert_jax.data.segments import Segment
from videobert_jax.data.split_writer import Features, SplitWriter
from videobert_jax.files import atomic, digests
from videobert_jax.schema import FeatureContract, InputStatistics

__all__ = ["DatasetWriter", "Segment"]

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_PROGRESS_SECONDS = 5.0


class DatasetWriter:
    """Takes videos one by one, then `finish()`. Given the same videos after an interruption, it
    skips those of finished parts: their features, if given as a function, are not computed.

    shard_records, shard_segments: a part is closed behind the video that fills it.
    num_videos: expected number a split, for the time left in the progress line.
    """

    def __init__(
        self,
        output: pathlib.Path,
        name: str,
        contract: FeatureContract,
        *,
        shard_records: int = 2048,
        shard_segments: int = 65536,
        metadata: Mapping[str, Any] | None = None,
        num_videos: Mapping[str, int] | None = None,
    ):
        """Raises DatasetError where `output` holds anything but this unfinished dataset."""
        _check_name("dataset", name)
        if contract.dim <= 0 or contract.dtype != "float16":
            raise index.DatasetError(
                f"{name}: contract of {contract.dim} dimensions in {contract.dtype}, expected at "
                "least 1 in float16, which is what is stored"
            )
        self.output, self.name, self.contract = pathlib.Path(output), name, contract
        self._metadata = dict(metadata or {})
        self._shard_records, self._shard_segments = shard_records, shard_segments
        self._partial = self.output / "partial"
        self._splits: dict[str, SplitWriter] = {}
        self._annotations: dict[str, list[Mapping[str, Any]]] = {}
        self._progress = _Progress(dict(num_videos or {}))
        self._begin()

    def _begin(self) -> None:
        plan = {
            "name": self.name,
            "contract": self.contract.to_json(),
            "metadata": digests.sha256_json(self._metadata),
            "shard": [self._shard_records, self._shard_segments],
        }
        plan_file = self._partial / "plan.json"
        if (self.output / index.DATASET_FILE).is_file():
            raise index.DatasetError(
                f"{self.output}: a finished dataset is there already; open it, or give another "
                "--output"
            )
        if plan_file.is_file():
            if digests.sha256_file(plan_file) != digests.sha256_bytes(_json_bytes(plan)):
                raise index.DatasetError(
                    f"{self.output}: an interrupted preparation with other settings is there "
                    f"({plan_file}); finish it with the same command and version, or remove the "
                    "directory"
                )
        elif self.output.is_dir() and any(self.output.iterdir()):
            found = sorted(path.name for path in self.output.iterdir())[:3]
            raise index.DatasetError(
                f"{self.output}: not empty and no dataset (it holds {', '.join(found)}); expected "
                "a new or empty directory: give another --output"
            )
        else:
            self._partial.mkdir(parents=True, exist_ok=True)
            atomic.write_bytes(plan_file, _json_bytes(plan))

    def add_video(
        self, split: str, video_name: str, features: Features, segments: Sequence[Segment]
    ) -> None:
        """Appends a video to a split: clip features `[n, dim]` float16 (or a function that makes
        them, or None for text alone) and its captioned intervals.

        NaN in features is written as it is; readers count it. Raises DatasetError, naming the
        video, on another shape or dtype, on times out of order, and on a second video of a name.
        """
        if split not in self._splits:
            _check_name("split", split)
            self._splits[split] = SplitWriter(self._partial / split, self.contract)
        writer = self._splits[split]
        writer.add(video_name, features, segments)
        if writer.is_full(self._shard_records, self._shard_segments):
            writer.close_part()
        self._progress.show(split, writer)

    def annotate(self, split: str, entry: Mapping[str, Any]) -> None:
        """Adds the next video's ground truth beyond its segments, anything that JSON can say.

        Give every video of the split an entry, in order, or none.
        """
        self._annotations.setdefault(split, []).append(entry)

    def finish(self) -> index.Dataset:
        """The dataset, complete on disk and opened. Raises DatasetError where it has no example."""
        for writer in self._splits.values():
            writer.close_part()
        if not any(p.num_segments for writer in self._splits.values() for p in writer.finished):
            raise index.DatasetError(
                f"{self.output}: no examples were given, expected at least one; check that the "
                "source's caption file is not empty"
            )
        files: dict[str, dict[str, Any]] = {}
        splits = {name: self._write_split(name, files) for name in self._splits}
        self._write_annotations(files)
        stats = self._write_statistics(files)
        self._write_tfds_metadata(splits, files)
        description = self._describe(splits, stats, files)
        content = _json_bytes(description)
        files[index.DATASET_FILE] = {"sha256": digests.sha256_bytes(content), "bytes": len(content)}
        atomic.write_json(self.output / index.DIGESTS_FILE, {"files": files})
        atomic.write_bytes(self.output / index.DATASET_FILE, content)
        shutil.rmtree(self._partial)
        return index.open_dataset(self.output)

    def _describe(self, splits, stats, files) -> dict[str, Any]:
        record_format = record.RecordFormat(self.contract.dim)
        identity = {
            "contract": self.contract.to_json(),
            "metadata": self._metadata,
            "splits": {name: fields["digest"] for name, fields in splits.items()},
            "statistics": [files[f]["sha256"] for f in sorted(files) if f.startswith("statistics")],
        }
        if self._annotations:
            names = [index.annotations_file(split) for split in sorted(self._annotations)]
            identity["annotations"] = [files[name]["sha256"] for name in names]
        return {
            "format": index.FORMAT,
            "version": index.FORMAT_VERSION,
            "name": self.name,
            "digest": digests.sha256_json(identity),
            "contract": self.contract.to_json(),
            "record": {
                "clips": record.CLIPS_PER_RECORD,
                "features_offset": record_format.features_offset,
                "num_bytes": record_format.num_bytes,
            },
            "statistics": stats is not None,
            "splits": splits,
            "metadata": self._metadata,
        }

    def _write_split(self, name: str, files: dict[str, dict[str, Any]]) -> dict[str, Any]:
        parts = self._splits[name].finished
        folder = self.output / "index" / name
        folder.mkdir(parents=True, exist_ok=True)
        label_names = columns.join(folder, parts)
        videos = [row[0] for finished in parts for row in finished.videos]
        atomic.write_json(folder / index.VIDEOS_FILE, videos, indent=None)
        own = {
            file.relative_to(self.output).as_posix(): _describe_file(file)
            for file in sorted(folder.iterdir())
        }
        shards = []
        with_records = [finished for finished in parts if finished.num_records]
        for number, finished in enumerate(with_records):
            file = f"{self.name}-{name}.array_record-{number:05d}-of-{len(with_records):05d}"
            self._place_shard(finished, file, number, name)
            own[file] = {"sha256": finished.shard_sha256, "bytes": finished.shard_bytes}
            shards.append({"file": file, "records": finished.num_records})
        files.update(own)
        return {
            "digest": digests.sha256_json({file: own[file]["sha256"] for file in own}),
            "num_examples": sum(finished.num_segments for finished in parts),
            "num_videos": len(videos),
            "num_captions": int(np.count_nonzero(np.load(folder / "caption_hash.npy"))),
            "labels": label_names,
            "shards": shards,
        }

    def _write_annotations(self, files: dict[str, dict[str, Any]]) -> None:
        for split, entries in self._annotations.items():
            num_videos = self._splits[split].num_videos if split in self._splits else 0
            if len(entries) != num_videos:
                raise index.DatasetError(
                    f"{self.output}: split {split} has {num_videos} videos and annotations of "
                    f"{len(entries)}; annotate every one or none"
                )
            name = index.annotations_file(split)
            (self.output / name).parent.mkdir(exist_ok=True)
            lines = [json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries]
            atomic.write_text(self.output / name, "".join(lines))
            files[name] = _describe_file(self.output / name)

    def _place_shard(self, finished: part.FinishedPart, file: str, number: int, split: str) -> None:
        # A finish that was interrupted has moved some shards already, then perhaps under
        # another total.
        moved = sorted(self.output.glob(f"{self.name}-{split}.array_record-{number:05d}-of-*"))
        for source in (finished.shard, *moved):
            if source.is_file() and source.stat().st_size == finished.shard_bytes:
                source.replace(self.output / file)
                return
        raise index.DatasetError(
            f"{finished.shard}: missing or not of {finished.shard_bytes} bytes as when it was "
            f"written; remove {self.output} and prepare the dataset anew"
        )

    def _write_statistics(self, files: dict[str, dict[str, Any]]) -> InputStatistics | None:
        parts = [
            finished
            for name, writer in self._splits.items()
            if name.startswith("train")
            for finished in writer.finished
        ]
        dim = self.contract.dim
        stats = statistics.combine((_moments(finished) for finished in parts), dim).statistics()
        if stats is None:
            return None
        folder = self.output / "statistics"
        folder.mkdir(exist_ok=True)
        for name in ("mean", "scale"):
            np.save(folder / f"{name}.npy", getattr(stats, name))
            files[f"statistics/{name}.npy"] = _describe_file(folder / f"{name}.npy")
        return stats

    def _write_tfds_metadata(self, splits: dict[str, Any], files: dict[str, Any]) -> None:
        with_records = {name: fields for name, fields in splits.items() if fields["shards"]}
        if not with_records:
            return
        try:
            import tensorflow_datasets as tfds
            from etils import epath
        except ImportError as error:
            raise index.DatasetError(
                f"{self.output}: tensorflow_datasets cannot be imported ({error}), which writes "
                "the dataset's tfds metadata; pip install tensorflow-datasets and run the same "
                "command again: what was written is kept"
            ) from error
        length = record.RecordFormat(self.contract.dim).num_bytes
        shape = (record.CLIPS_PER_RECORD, self.contract.dim)
        features = {
            record.FEATURES: tfds.features.Tensor(shape=shape, dtype=np.float16, encoding="bytes")
        }
        for key in (record.VIDEO, record.FIRST_CLIP, record.NUM_CLIPS):
            features[key] = tfds.features.Tensor(shape=(), dtype=np.int64, encoding="bytes")
        infos = []
        for name, fields in with_records.items():
            lengths = [shard["records"] for shard in fields["shards"]]
            template = tfds.core.ShardedFileTemplate(
                data_dir=epath.Path(self.output),
                dataset_name=self.name,
                split=name,
                filetype_suffix="array_record",
            )
            infos.append(
                tfds.core.SplitInfo(
                    name=name,
                    shard_lengths=lengths,
                    num_bytes=sum(lengths) * length,
                    filename_template=template,
                )
            )
        tfds.folder_dataset.write_metadata(
            data_dir=self.output,
            features=tfds.features.FeaturesDict(features),
            split_infos=infos,
            description=str(self._metadata.get("notes", self.name)),
            check_data=False,
        )
        for file in ("dataset_info.json", "features.json"):
            files[file] = _describe_file(self.output / file)


class _Progress:
    """A line on standard error every few seconds: videos done, a second, and time left."""

    def __init__(self, expected: dict[str, int]):
        self._expected = expected
        self._split = ""
        self._begun = self._shown = time.monotonic()

    def show(self, split: str, writer: SplitWriter) -> None:
        now = time.monotonic()
        if split != self._split:
            self._split, self._begun, self._first = split, now, writer.num_videos
        if now - self._shown < _PROGRESS_SECONDS or now == self._begun:
            return
        self._shown = now
        rate = (writer.num_videos - self._first) / (now - self._begun)
        text, left = "", ""
        if (total := self._expected.get(split)) is not None:
            text = f" of {total:,}"
            left = f", {(total - writer.num_videos) / rate:,.0f} s left" if rate > 0 else ""
        text = f"{split}: {writer.num_videos:,}{text} videos, {rate:,.1f} a second{left}"
        print(text, file=sys.stderr, flush=True)


def _check_name(kind: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise index.DatasetError(
            f"{kind} name {name!r}: expected lower-case letters, digits and underscores, "
            "beginning with a letter (tfds names files after it)"
        )


def _describe_file(path: pathlib.Path) -> dict[str, Any]:
    return {"sha256": digests.sha256_file(path), "bytes": path.stat().st_size}


def _json_bytes(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _moments(finished: part.FinishedPart) -> statistics.Moments:
    piece = finished.columns()
    return statistics.Moments(
        piece["moments_count"], piece["moments_total"], piece["moments_squares"]
    )
