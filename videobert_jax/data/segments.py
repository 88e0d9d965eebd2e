"""Captioned intervals of a video, and the clips each of them covers."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

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
    return contract.clips_between(segment.start, segment.end, num_clips)


def check_segments(segments: Sequence[Segment]) -> None:
    """Raises ValueError on times that are not finite, negative or in the wrong order."""
    for number, segment in enumerate(segments):
        times = (segment.start, segment.end)
        if not (all(map(math.isfinite, times)) and 0 <= segment.start <= segment.end):
            raise ValueError(
                f"segment {number} ({segment.text[:40]!r}) from {segment.start} to {segment.end} "
                "s, expected 0 <= start <= end"
            )
