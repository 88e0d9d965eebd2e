"""Videos that are longer than what a network was trained on, in windows that are not."""

import dataclasses

import numpy as np
from jaxtyping import Int


@dataclasses.dataclass(frozen=True)
class Windows:
    """Overlapping runs of the clips of videos, and which of them tells of each clip.

    at: clips int [k, length], where `shown`; the window of a clip, and its place in that, int [n].
    """

    at: np.ndarray
    shown: np.ndarray
    window: np.ndarray
    place: np.ndarray

    @classmethod
    def of(cls, starts: Int[np.ndarray, " w"], length: int, share: int = 4) -> "Windows":
        """Windows of `length` clips, a `share`-th of one apart (from 2: each half overlaps the
        next), none beyond its video; of several that hold a clip the one in whose middle it lies.

        starts: first clip of each video among all, and the number of all.
        """
        counts = np.diff(starts)
        owners = np.repeat(np.arange(len(counts)), counts)
        clip = np.arange(len(owners)) - starts[owners]
        apart = max(1, length // share)
        first = np.rint((clip - length // 2) / apart).astype(np.int64) * apart
        first = np.clip(first, 0, np.maximum(counts[owners] - length, 0))
        begins, window = np.unique(starts[owners] + first, return_inverse=True)
        places = np.arange(length)[None]
        ends = starts[np.searchsorted(starts, begins, side="right")]
        shown = begins[:, None] + places < ends[:, None]
        at = np.where(shown, begins[:, None] + places, 0)
        return cls(at, shown, window.reshape(-1), clip - first)
