"""The videos of one split on their way into parts, checked one by one."""

import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from videobert_jax.data import index, part, segments
from videobert_jax.data.segments import Segment
from videobert_jax.files import digests
from videobert_jax.schema import FeatureContract

Features = np.ndarray | Callable[[], np.ndarray] | None


class SplitWriter:
    """The parts of one split: finished ones found on disk, then those written now."""

    def __init__(self, stem: pathlib.Path, contract: FeatureContract):
        self._stem, self._contract = stem, contract
        self.finished: list[part.FinishedPart] = []
        while (found := part.read_finished(self._part_files(len(self.finished)))) is not None:
            self.finished.append(found)
        self._skipped = [row for found in self.finished for row in found.videos]
        self._names: set[str] = set()
        self._open: part.OpenPart | None = None

    def _part_files(self, number: int) -> pathlib.Path:
        return self._stem.with_name(f"{self._stem.name}-{number:05d}")

    @property
    def num_videos(self) -> int:
        return len(self._names)

    def add(self, name: str, features: Features, given: Sequence[Segment]) -> None:
        where = f"{self._stem.name}: video {name!r}"
        if name in self._names:
            raise index.DatasetError(f"{where} was given twice; a split names each video once")
        try:
            segments.check_segments(given)
            if len(self._names) < len(self._skipped):
                self._check_skipped(name, features, given)
            else:
                features = features() if callable(features) else features
                self._check_features(features)
                if self._open is None:
                    files = self._part_files(len(self.finished))
                    self._open = part.OpenPart(files, self._contract, len(self._names))
                self._open.add(name, features, given)
        except ValueError as error:
            raise index.DatasetError(f"{where}: {error}") from error
        self._names.add(name)

    def _check_skipped(self, name: str, features: Features, given: Sequence[Segment]) -> None:
        written = self._skipped[len(self._names)]
        found = [name, part.segments_digest(given), written[2]]
        if isinstance(features, np.ndarray) and len(features):
            found[2] = digests.sha256_array(features)
        if found != written:
            raise ValueError(
                f"the interrupted preparation has another video here ({written[0]!r} with other "
                "content or order): the source has changed; remove the output and prepare anew"
            )

    def _check_features(self, features: np.ndarray | None) -> None:
        if features is None:
            return
        expected = f"float16 [clips, {self._contract.dim}]"
        if features.ndim != 2 or features.shape[1] != self._contract.dim:
            raise ValueError(f"features of shape {list(features.shape)}, expected {expected}")
        if features.dtype != np.float16:
            raise ValueError(f"features of {features.dtype}, expected {expected}: cast them")

    def is_full(self, records: int, rows: int) -> bool:
        opened = self._open
        return opened is not None and (opened.num_records >= records or opened.num_segments >= rows)

    def close_part(self) -> None:
        if len(self._names) < len(self._skipped):
            raise index.DatasetError(
                f"{self._stem.name}: {len(self._names)} videos were given, but the interrupted "
                f"preparation wrote {len(self._skipped)}: the source has changed; remove the "
                "output and prepare anew"
            )
        if self._open is not None:
            self.finished.append(self._open.finish())
            self._open = None
