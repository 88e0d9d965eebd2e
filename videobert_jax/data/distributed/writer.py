"""Writes a dataset as data/writer.py does, its parts by an engine of Beam's."""

import pathlib
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from videobert_jax.data import assembly, index, part
from videobert_jax.data.distributed import pipeline
from videobert_jax.data.distributed.storage import Storage
from videobert_jax.data.distributed.task import Task, TaskVideo
from videobert_jax.data.importers import FeatureSource
from videobert_jax.data.part import Annotation, Damaged, FinishedPart, PartSize
from videobert_jax.data.segments import Segment
from videobert_jax.data.writing_plan import PARTIAL, PLAN_FILE, WritingPlan, check_name
from videobert_jax.schema import FeatureContract

Source = Callable[[], FeatureSource]


class DistributedWriter:
    """Takes what is said of videos one by one, then `finish()` has the parts written.

    output: a local path or a URL of Beam's file systems. open_source: gives the features, wherever
    a part is written; pickles. beam_options: of the engine. One part is in memory at a time.
    """

    def __init__(
        self,
        output: str | pathlib.Path,
        name: str,
        contract: FeatureContract,
        *,
        open_source: Source,
        beam_options: Sequence[str],
        part_size: PartSize | None = None,
        metadata: Mapping[str, Any] | None = None,
        num_videos: Mapping[str, int] | None = None,
    ):
        """Raises DatasetError where `output` holds anything but this unfinished dataset."""
        self._storage = Storage(str(output))
        self._plan = WritingPlan(name, contract, dict(metadata or {}), part_size or PartSize())
        self._open_source, self._options = open_source, beam_options
        self._parts: dict[str, list[str]] = {}  # split -> keys of its closed parts
        self._open: dict[str, Task] = {}
        self._names: dict[str, set[str]] = {}
        self._pending: list[str] = []
        self._found = self._storage.sizes(PARTIAL)
        self._sizes: dict[str, int] = {}  # of all files, when the parts are joined
        is_there = PLAN_FILE in self._found
        written = self._storage.read(f"{PARTIAL}/{PLAN_FILE}") if is_there else None
        self._plan.check_start(self._storage.root, list(self._storage.sizes()), written)
        if written is None:
            self._storage.write(f"{PARTIAL}/{PLAN_FILE}", self._plan.content())

    def add_video(
        self,
        split: str,
        video_name: str,
        features: part.Features,
        segments: Sequence[Segment],
        *,
        annotation: Annotation = None,
        damaged: Damaged = "refuse",
    ) -> None:
        """Appends a video to a split, as DatasetWriter's does; `features`, if not None, are read
        from the source by the video's name where the part is written."""
        if split not in self._parts:
            check_name("split", split)
            self._parts[split], self._names[split] = [], set()
        names = self._names[split]
        with part.errors_of(split, video_name):
            part.check_video(video_name, segments, names)
        if split not in self._open:
            key = f"{split}-{len(self._parts[split]):05d}"
            self._open[split] = Task(key, first_video=len(names) - 1)
        task = self._open[split]
        has_features = features is not None
        task.videos.append(TaskVideo(video_name, has_features, segments, annotation, damaged))
        if self._plan.size.is_reached(len(task.videos), task.num_segments):
            self._close(split)

    def _close(self, split: str) -> None:
        task = self._open.pop(split)
        self._parts[split].append(task.key)
        if f"{task.key}.done" not in self._found:
            self._storage.write(f"{PARTIAL}/{task.key}.task", task.to_bytes())
            self._pending.append(task.key)
            return
        with tempfile.TemporaryDirectory() as folder:
            written = self._fetch(task.key, pathlib.Path(folder), ".done")
        if [row[:2] for row in written.videos] != [video.row for video in task.videos]:
            raise index.DatasetError(
                f"{self._storage.root}: part {task.key} of the interrupted preparation has other "
                "videos, content or order: the source has changed; remove the output and prepare "
                "anew"
            )

    def finish(self, failures: Iterable[Mapping[str, Any]] = ()) -> index.Dataset | None:
        """The dataset, complete and, on a local path, opened.

        failures: what was left out, for failures.jsonl. Raises DatasetError where a part could
        not be written, and where there is no example.
        """
        for split in list(self._open):
            self._close(split)
        if self._pending:
            contract, keys = self._plan.contract, self._pending
            pipeline.run(self._storage, contract, keys, self._open_source, self._options)
        with tempfile.TemporaryDirectory() as folder:
            self._join(pathlib.Path(folder), failures)
        self._storage.delete(PARTIAL)
        return None if "://" in self._storage.root else index.open_dataset(self._storage.root)

    def _join(self, folder: pathlib.Path, failures: Iterable[Mapping[str, Any]]) -> None:
        """The index is joined on the local disk and copied, dataset.json last."""
        pieces, joined = folder / PARTIAL, folder / "joined"
        pieces.mkdir()
        joined.mkdir()
        parts = {
            split: [self._fetch(key, pieces, ".npz", ".done") for key in keys]
            for split, keys in self._parts.items()
        }
        root = self._storage.root
        partial = self._storage.sizes(PARTIAL)
        self._sizes = self._storage.sizes() | {f"{PARTIAL}/{n}": s for n, s in partial.items()}
        shards = set()

        def place(finished: FinishedPart, stem: str, file: str) -> None:
            self._place_shard(finished, stem, file)
            shards.add(joined / file)
            (joined / file).touch()  # tfds takes the format from the names of the shards

        assembly.assemble(joined, root, self._plan, parts, failures, place)
        files = {file for file in joined.rglob("*") if file.is_file()} - shards
        names = sorted(file.relative_to(joined).as_posix() for file in files)
        names.remove(index.DATASET_FILE)
        for name in names:
            self._storage.upload(joined / name, name)
        self._storage.write(index.DATASET_FILE, (joined / index.DATASET_FILE).read_bytes())

    def _fetch(self, key: str, folder: pathlib.Path, *suffixes: str) -> FinishedPart:
        for suffix in suffixes:
            self._storage.download(f"{PARTIAL}/{key}{suffix}", folder / f"{key}{suffix}")
        finished = part.read_finished(folder / key)
        if finished is None:
            raise index.DatasetError(f"{self._storage.root}: part {key} is gone; start again")
        return finished

    def _place_shard(self, finished: FinishedPart, stem: str, file: str) -> None:
        # A joining that was interrupted has moved some shards already, perhaps to another total.
        moved = [name for name in self._sizes if name.startswith(stem)]
        for name in (f"{PARTIAL}/{finished.shard.name}", *moved):
            if self._sizes.get(name) == finished.shard_bytes:
                self._storage.move(name, file)
                return
        raise finished.missing(self._storage.root)
