"""The videos of one split on their way into parts, checked one by one."""

import pathlib
from collections.abc import Sequence

import numpy as np

from videobert_jax.data import index, part
from videobert_jax.data.part import Annotation, Damaged, Features, PartSize
from videobert_jax.data.segments import Segment
from videobert_jax.files import digests
from videobert_jax.schema import FeatureContract


class SplitWriter:
    """The parts of one split: finished ones found on disk, then those written now."""

    def __init__(self, stem: pathlib.Path, contract: FeatureContract, size: PartSize):
        self._stem, self._contract, self._size = stem, contract, size
        self.finished: list[part.FinishedPart] = []
        while (found := part.read_finished(self._part_files(len(self.finished)))) is not None:
            self.finished.append(found)
        self._skipped = [row for found in self.finished for row in found.videos]
        self._names: set[str] = set()
        self._open: part.OpenPart | None = None
        self._videos = self._segments = 0  # of the open part

    def _part_files(self, number: int) -> pathlib.Path:
        return self._stem.with_name(f"{self._stem.name}-{number:05d}")

    @property
    def num_videos(self) -> int:
        return len(self._names)

    def add(
        self,
        name: str,
        features: Features,
        segments: Sequence[Segment],
        annotation: Annotation,
        damaged: Damaged,
    ) -> None:
        """Appends a video, and closes the part that it fills. Raises DatasetError."""
        with part.errors_of(self._stem.name, name):
            part.check_video(name, segments, self._names)
            if len(self._names) <= len(self._skipped):
                self._check_skipped(name, features, part.digest(segments, annotation))
                return
            if self._open is None:
                files = self._part_files(len(self.finished))
                self._open = part.OpenPart(files, self._contract, len(self._names) - 1)
            self._open.add(name, features, segments, annotation, damaged)
        self._videos += 1
        self._segments += len(segments)
        if self._size.is_reached(self._videos, self._segments):
            self.close_part()

    def _check_skipped(self, name: str, features: Features, said: str) -> None:
        written = self._skipped[len(self._names) - 1]
        found = [name, said, written[2]]
        if isinstance(features, np.ndarray) and len(features):
            found[2] = digests.sha256_array(features)
        if found != written:
            raise ValueError(
                f"the interrupted preparation has another video here ({written[0]!r} with other "
                "content or order): the source has changed; remove the output and prepare anew"
            )

    def close_part(self) -> None:
        """Finishes the open part. Raises DatasetError where fewer videos came than before."""
        if len(self._names) < len(self._skipped):
            raise index.DatasetError(
                f"{self._stem.name}: {len(self._names)} videos were given, but the interrupted "
                f"preparation wrote {len(self._skipped)}: the source has changed; remove the "
                "output and prepare anew"
            )
        if self._open is not None:
            self.finished.append(self._open.finish())
            self._open = None
            self._videos = self._segments = 0
