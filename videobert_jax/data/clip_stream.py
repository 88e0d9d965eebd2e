"""All clip features of a split in their order, a bounded number at a time."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float16, Int64

from videobert_jax.data.index import Split
from videobert_jax.data.reader import ClipReader

CLIPS_AT_A_TIME = 1 << 16  # 128 MiB of 1024 float16


def undamaged_videos(split: Split) -> Int64[np.ndarray, " v"]:
    """The videos with clips, all of them finite; reads everything once."""
    sound = []
    for videos, _, damaged in _read(split, np.flatnonzero(split.num_clips > 0)):
        sound.append(videos[~damaged])
    return np.concatenate(sound) if sound else np.zeros(0, np.int64)


def clip_features(
    split: Split, videos: Int64[np.ndarray, " v"]
) -> Iterator[Float16[np.ndarray, "n c"]]:
    """Features of all clips of the videos, whole videos together, clip by clip in their order.

    Raises DatasetError where a shard is missing or damaged.
    """
    for _, features, _ in _read(split, videos):
        yield features


def _read(split: Split, videos: Int64[np.ndarray, " v"]) -> Iterator[tuple]:
    """(videos, their features, whether each is damaged), group by group."""
    reader = ClipReader(split)
    counts = split.num_clips[videos].astype(np.int64)
    group = (np.cumsum(counts) - counts) // CLIPS_AT_A_TIME
    for number in np.unique(group):
        chosen = np.flatnonzero(group == number)
        size = counts[chosen]
        out = np.zeros((int(size.sum()), split.contract.dim), np.float16)
        starts = np.cumsum(size) - size
        damaged = reader.read_into(out, starts, videos[chosen], np.zeros_like(size), size)
        yield videos[chosen], out, damaged
