"""Writes a dataset that can be interrupted at any moment and goes on where it was.

Videos are gathered into parts (data/part.py); a finished part is never written again. `finish`
joins them (data/assembly.py) and puts the shards under their final names; dataset.json comes last:
a directory with that file is complete.
"""

import os
import pathlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from videobert_jax.data import assembly, index, part
from videobert_jax.data.part import Annotation, Damaged, Features, PartSize
from videobert_jax.data.segments import Segment
from videobert_jax.data.split_writer import SplitWriter
from videobert_jax.data.writing_plan import PARTIAL, PLAN_FILE, WritingPlan, check_name
from videobert_jax.files import atomic
from videobert_jax.files.progress import Progress
from videobert_jax.schema import FeatureContract

__all__ = ["DatasetWriter", "Segment"]


class DatasetWriter:
    """Takes videos one by one, then `finish()`. Given the same videos after an interruption, it
    skips those of finished parts: their features, if given as a function, are not computed.

    part_size: a part is closed behind the video that fills it.
    num_videos: expected number a split, for the time left in the progress line.
    """

    def __init__(
        self,
        output: pathlib.Path,
        name: str,
        contract: FeatureContract,
        *,
        part_size: PartSize | None = None,
        metadata: Mapping[str, Any] | None = None,
        num_videos: Mapping[str, int] | None = None,
    ):
        """Raises DatasetError where `output` holds anything but this unfinished dataset."""
        self.output = pathlib.Path(output)
        self._plan = WritingPlan(name, contract, dict(metadata or {}), part_size or PartSize())
        self._partial = self.output / PARTIAL
        self._splits: dict[str, SplitWriter] = {}
        self._expected = dict(num_videos or {})
        self._progress: dict[str, Progress] = {}
        plan_file = self._partial / PLAN_FILE
        written = plan_file.read_bytes() if plan_file.is_file() else None
        found = os.listdir(self.output) if self.output.is_dir() else []
        self._plan.check_start(str(self.output), found, written)
        if written is None:
            self._partial.mkdir(parents=True, exist_ok=True)
            atomic.write_bytes(plan_file, self._plan.content())

    def add_video(
        self,
        split: str,
        video_name: str,
        features: Features,
        segments: Sequence[Segment],
        *,
        annotation: Annotation = None,
        damaged: Damaged = "refuse",
    ) -> None:
        """Appends a video to a split, by its video_name: clip features `[n, dim]` float16 (or a
        function that makes them, or None for text alone) and segments, its captioned intervals in
        seconds.

        annotation: ground truth beyond segments, anything that JSON can say; every video of a
        split has one, or none has. damaged: what becomes of it where the function raises
        FeatureError. NaN in features is written as it is; readers count it. Raises DatasetError,
        naming the video, on another shape or dtype, on times out of order, and on a second video
        of a name.
        """
        if split not in self._splits:
            check_name("split", split)
            stem = self._partial / split
            self._splits[split] = SplitWriter(stem, self._plan.contract, self._plan.size)
            self._progress[split] = Progress("videos", self._expected.get(split), split)
        self._splits[split].add(video_name, features, segments, annotation, damaged)
        self._progress[split].step()

    def finish(self, failures: Iterable[Mapping[str, Any]] = ()) -> index.Dataset:
        """The dataset, complete on disk and opened.

        failures: what was left out, for failures.jsonl. Raises DatasetError where it has no
        example.
        """
        for writer in self._splits.values():
            writer.close_part()
        parts = {name: writer.finished for name, writer in self._splits.items()}
        assembly.assemble(
            self.output, str(self.output), self._plan, parts, failures, self._place_shard
        )
        shutil.rmtree(self._partial)
        return index.open_dataset(self.output)

    def _place_shard(self, finished: part.FinishedPart, stem: str, file: str) -> None:
        # A finish that was interrupted has moved some shards already, then perhaps under
        # another total.
        for source in (finished.shard, *sorted(self.output.glob(f"{stem}*"))):
            if source.is_file() and source.stat().st_size == finished.shard_bytes:
                source.replace(self.output / file)
                return
        raise finished.missing(str(self.output))
