"""All clip features of a split in their order, a bounded number at a time."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float16, Int64

from videobert_jax.data.index import Split
from videobert_jax.data.reader import ClipReader

CLIPS_AT_A_TIME = 1 << 16  # 128 MiB of 1024 float16


class WholeVideos(NamedTuple):
    """Clips of some whole videos, one behind another: those of `videos[i]` are `starts[i]` to
    `starts[i + 1]`; those of a `damaged` video (NaN) are 0."""

    videos: Int64[np.ndarray, " v"]
    starts: Int64[np.ndarray, " w"]
    features: Float16[np.ndarray, "n c"]
    damaged: Bool[np.ndarray, " v"]


def undamaged_videos(split: Split) -> Int64[np.ndarray, " v"]:
    """The videos with clips, all of them finite; reads everything once."""
    sound = []
    for of in whole_videos(split, np.flatnonzero(split.num_clips > 0)):
        sound.append(of.videos[~of.damaged])
    return np.concatenate(sound) if sound else np.zeros(0, np.int64)


def clip_features(
    split: Split, videos: Int64[np.ndarray, " v"]
) -> Iterator[Float16[np.ndarray, "n c"]]:
    """Features of all clips of the videos, whole videos together, clip by clip in their order.

    Raises DatasetError where a shard is missing or damaged.
    """
    for of in whole_videos(split, videos):
        yield of.features


def whole_videos(
    split: Split,
    videos: Int64[np.ndarray, " v"],
    *,
    clips_at_a_time: int = CLIPS_AT_A_TIME,
    parallel_reads: int = 1,
) -> Iterator[WholeVideos]:
    """Yields the clips of these videos in their order, about so many at a time.

    Raises DatasetError where a shard is missing or damaged.
    """
    reader = ClipReader(split, parallel_reads)
    counts = split.num_clips[videos].astype(np.int64)
    group = (np.cumsum(counts) - counts) // clips_at_a_time
    for number in np.unique(group):
        chosen = np.flatnonzero(group == number)
        size = counts[chosen]
        starts = np.concatenate([[0], np.cumsum(size)])
        out = np.zeros((int(starts[-1]), split.contract.dim), np.float16)
        damaged = reader.read_into(out, starts[:-1], videos[chosen], np.zeros_like(size), size)
        yield WholeVideos(videos[chosen], starts, out, damaged)
