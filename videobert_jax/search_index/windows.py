"""How a video is cut into the segments that a search answers with: windows of clips."""

import dataclasses
import math

import numpy as np
from jaxtyping import Float, Int

from videobert_jax.inference.model import PretrainedModel
from videobert_jax.schema import FeatureContract
from videobert_jax.search_index.errors import SearchIndexError

Seconds = float | int


@dataclasses.dataclass(frozen=True)
class Windows:
    """Windows of `clips` clips, one every `hop` clips; the last one ends where the video does.

    A video of fewer clips is one window. Raises SearchIndexError where windows leave gaps.
    """

    clips: int
    hop: int

    def __post_init__(self) -> None:
        if not 1 <= self.hop <= self.clips:
            raise SearchIndexError(
                f"windows of {self.clips} clips every {self.hop}; expected 1 clip or more, and a "
                "hop of 1 clip to a window's length, so that nothing lies between windows."
            )

    def count(self, num_clips: int) -> int:
        """Windows of a video; none of one without clips."""
        if num_clips <= self.clips:
            return min(num_clips, 1)
        return -(-(num_clips - self.clips) // self.hop) + 1

    def first_clips(self, num_clips: int) -> Int[np.ndarray, " n"]:
        """The first clip of each window of a video."""
        last = max(num_clips - self.clips, 0)
        return np.minimum(np.arange(self.count(num_clips)) * self.hop, last)

    def cut(self, features: Float[np.ndarray, "v c"]) -> list[np.ndarray]:
        """Clip features of each window, views of those of the video."""
        return [features[first : first + self.clips] for first in self.first_clips(len(features))]

    def seconds(
        self, number: int, num_clips: int, contract: FeatureContract
    ) -> tuple[float, float]:
        """(start, end) of a window of a video, by the contract's clips."""
        first = min(number * self.hop, max(num_clips - self.clips, 0))
        start = first * contract.stride_seconds
        return start, start + contract.covered_seconds(min(self.clips, num_clips))


def default(model: PretrainedModel) -> Windows:
    """Windows as long as the room that a training example had in its row, half overlapping."""
    data = model.bundle.data
    clips = min(max(data.video_length // data.examples_per_row, 1), model.maximum_clips)
    return Windows(clips, max(clips // 2, 1))


def chosen(model: PretrainedModel, window: Seconds | None, hop: Seconds | None) -> Windows:
    """Windows of so many seconds, rounded to whole clips; None: as `default`, the hop half a
    window. Raises SearchIndexError on a window longer than the longest video of training."""
    for name, seconds in (("window", window), ("hop", hop)):
        if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
            raise SearchIndexError(f"a {name} of {seconds} s; expected a length above 0.")
    contract, clips = model.contract, default(model).clips
    one = contract.covered_seconds(1)
    if window is not None:
        clips = max(round((window - one) / contract.stride_seconds) + 1, 1)
    if clips > model.maximum_clips:
        longest = contract.covered_seconds(model.maximum_clips)
        raise SearchIndexError(
            f"a window of {window} s is {clips} clips, but the model was trained with "
            f"{model.maximum_clips} at most; expected {longest:.4g} s or less."
        )
    steps = max(clips // 2, 1) if hop is None else max(round(hop / contract.stride_seconds), 1)
    return Windows(clips, steps)
