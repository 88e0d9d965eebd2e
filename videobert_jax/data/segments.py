"""Captioned intervals of a video, and the clips each of them covers."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from videobert_jax.schema import FeatureContract


@dataclasses.dataclass(frozen=True)
class Segment:
    """A captioned interval. start, end: seconds. text: may be empty (an example without caption).

    labels: kind -> name, such as {"verb": "stir"}. clips: (first, count) where the source says
    which clips belong to it; else they follow from the times.
    """

    start: float | int
    end: float | int
    text: str
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    clips: tuple[int, int] | None = None


def clips_of_segment(
    segment: Segment, num_clips: int, contract: FeatureContract
) -> tuple[int, int]:
    """(first clip, number of clips) whose centres lie in the segment; the nearest one if none does.

    (0, 0), no clips, where the video has none or the segment lies outside it. Raises ValueError
    on given clips that the video does not have, and where a contract without a stride leaves
    nothing to count with.
    """
    if segment.clips is not None:
        first, count = segment.clips
        if first < 0 or count < 0 or first + count > num_clips:
            raise ValueError(f"clips {first} to {first + count}, the video has {num_clips}")
        return first, count
    if num_clips == 0:
        return 0, 0
    stride, window = contract.stride_seconds, _window(contract)
    covered = covered_seconds(num_clips, contract)
    # Steps often begin exactly at a clip's centre, or where the video ends: rounding keeps
    # 3.0000000000000004 from being 4.
    if segment.end <= 0 or round((segment.start - covered) / stride, 6) >= 0:
        return 0, 0
    half = window / 2
    first = max(0, math.ceil(round((segment.start - half) / stride, 6)))
    last = min(num_clips, math.ceil(round((segment.end - half) / stride, 6)))
    if last > first:
        return first, last - first
    middle = (segment.start + segment.end) / 2
    return min(num_clips - 1, max(0, round((middle - half) / stride))), 1


def covered_seconds(num_clips: int, contract: FeatureContract) -> float:
    """Where a video's last clip ends. Raises ValueError where the contract has no stride."""
    return (num_clips - 1) * contract.stride_seconds + _window(contract)


def clips_at(
    times: Float[np.ndarray, " t"], num_clips: int, contract: FeatureContract
) -> Int[np.ndarray, " t"]:
    """The clip, int64, whose centre is nearest to each time of a video that has clips, in seconds.

    Raises ValueError where the contract has no stride.
    """
    middle = _window(contract) / 2
    nearest = np.rint(np.round((times - middle) / contract.stride_seconds, 6))
    return np.clip(nearest, 0, num_clips - 1).astype(np.int64)


def _window(contract: FeatureContract) -> float:
    """Seconds that a clip shows; those from one to the next where the contract does not say."""
    stride = contract.stride_seconds
    if not stride > 0:
        raise ValueError(f"stride_seconds={stride} in the contract, so say which clips it covers")
    if contract.fps and contract.frames_per_clip:
        return contract.frames_per_clip / contract.fps
    return stride


def check_segments(segments: Sequence[Segment]) -> None:
    """Raises ValueError on times that are not finite, negative or in the wrong order."""
    for number, segment in enumerate(segments):
        times = (segment.start, segment.end)
        if not (all(map(math.isfinite, times)) and 0 <= segment.start <= segment.end):
            raise ValueError(
                f"segment {number} ({segment.text[:40]!r}) from {segment.start} to {segment.end} "
                "s, expected 0 <= start <= end"
            )
