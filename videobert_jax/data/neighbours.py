"""Near videos together: an order of a split's examples in which blocks hold videos that are alike.

VideoCLIP (Xu et al. 2021, section 3.3) trains on clusters of videos that its own embeddings find
near: their clips are hard negatives of each other. There a batch is half of the nearest neighbours
of a random video, so that some videos come often and some never. Here `cluster-videos` puts all
videos of a split into one order, those alike side by side. An epoch cuts the order into windows,
elsewhere than the epoch before, takes the windows in random order and the examples of a window in
random order: every example comes once an epoch, each time among others of its surroundings, and any
position is found by a search in a mapped table.
"""

import dataclasses
import os
from typing import Any

import numpy as np
from jaxtyping import Int64, Integer

from videobert_jax.data import order, split_tables
from videobert_jax.data.index import Split

FORMAT, FORMAT_VERSION = "videobert_jax.neighbours", 1


class NeighboursError(ValueError):
    """A file that is no order of near videos, or one of another split."""


@dataclasses.dataclass(frozen=True, eq=False)
class Neighbours(split_tables.Table):
    """A split's V videos in the order in which near ones stand together; columns are mapped.

    videos: number of the video at each place. first_example: its first example. examples_before:
    examples of the videos of all places before, and of all. digest: of all that the file says.
    Pickles as its path.
    """

    KIND = split_tables.Kind(
        FORMAT,
        FORMAT_VERSION,
        what="an order of near videos",
        command="cluster-videos",
        setting="neighbours",
        error=NeighboursError,
    )

    videos: np.ndarray  # int32 [V]
    first_example: np.ndarray  # int64 [V]
    examples_before: np.ndarray  # int64 [V + 1]

    @property
    def num_examples(self) -> int:
        return int(self.examples_before[-1])

    def examples_at(self, places: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """Ids of the examples at these places of the order, 0 to num_examples - 1."""
        video = np.searchsorted(self.examples_before, places, side="right") - 1
        return self.first_example[video] + places - self.examples_before[video]


@dataclasses.dataclass(frozen=True)
class NearOrder:
    """The order of a source's examples. window: examples that are shuffled together, a multiple of
    block_size."""

    neighbours: Neighbours
    window: int
    block_size: int

    @classmethod
    def of_videos(cls, neighbours: Neighbours, videos: int, block_size: int) -> "NearOrder":
        """Windows of about `videos` videos. Raises ValueError where fewer than two fit."""
        total, size = len(neighbours.videos), neighbours.num_examples
        window = max(1, round(videos * size / (total * block_size))) * block_size
        if 2 * window > size - block_size:
            raise ValueError(
                f"neighbour_videos={videos} of {total} are {window} examples in whole blocks of "
                f"{block_size}, and {neighbours.path} orders {size}: not two windows and a block; "
                "lower it or data.block_size, or name no neighbours."
            )
        return cls(neighbours, window, block_size)

    def example_ids(self, seed: int, positions: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """Ids of the examples at these positions of the source: each once an epoch."""
        return self.neighbours.examples_at(self.places(seed, positions))

    def places(self, seed: int, positions: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """Places in the order of near videos. An epoch's windows begin where its first whole block
        does; what fills none is shuffled by itself, and surrounds them."""
        size, window = self.neighbours.num_examples, self.window
        epochs, ranks = np.divmod(positions, size)
        lead = -(epochs * size) % self.block_size  # to the end of a block of the epoch before
        windows = (size - self.block_size + 1) // window
        in_windows = windows * window
        inside = ranks - lead
        whole = (inside >= 0) & (inside < in_windows)
        places = np.where(ranks < lead, ranks, ranks - in_windows)
        of_window, of_rest = (int(order.bits(seed, order.NEIGHBOURS, 0, i)) for i in (1, 2))
        rest = ~whole
        if rest.any():
            shuffled = order.feistel(of_rest, epochs[rest], size - in_windows, places[rest])
            places[rest] = in_windows + shuffled
        if whole.any():
            number, place = np.divmod(inside[whole], window)
            number = order.feistel(seed, epochs[whole], windows, number)
            keys = epochs[whole] * windows + number
            places[whole] = number * window + order.feistel(of_window, keys, window, place)
        return (places + order.integers(seed, order.NEIGHBOURS, epochs, 0, size)) % size


def write(
    path: str | os.PathLike,
    split: Split,
    videos: Integer[np.ndarray, " v"],
    about: dict[str, Any],
) -> str:
    """Writes the order `videos` of a split's video numbers, and gives its name, "FILE@DIGEST"; the
    file appears only when whole."""
    counts = np.bincount(split.video, minlength=len(split.videos))
    first = np.cumsum(counts) - counts
    if (np.diff(split.video) < 0).any() or len(videos) != len(split.videos):
        raise NeighboursError(
            f"split {split.name!r} of {split.path}: examples that do not stand video by video, or "
            f"{len(videos)} videos in order of {len(split.videos)}"
        )
    columns = {
        "videos": videos.astype(np.int32),
        "first_example": first[videos].astype(np.int64),
        "examples_before": np.concatenate([[0], np.cumsum(counts[videos])]).astype(np.int64),
    }
    return Neighbours.write(path, split, columns, {**about, "num_videos": len(videos)})


def load(name: str | os.PathLike) -> Neighbours:
    """The order in "FILE", a file of `write`, or in "FILE@DIGEST": of this digest, which may be cut
    short. Raises NeighboursError where it is none, damaged, or has another digest."""
    return Neighbours.load(name)
