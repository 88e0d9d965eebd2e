"""How many examples a row, and how long rows: fitted to the lengths of a run's own blocks.

Blocks are packed as the pipeline packs them, from the index alone; no feature is read.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from videobert_jax.data import fill, packing
from videobert_jax.data.block import BlockBuilder
from videobert_jax.data.config import SHORTEST_TEXT, SHORTEST_VIDEO
from videobert_jax.files.progress import Progress


class PackingError(ValueError):
    """Lengths to which no rows can be fitted."""


@dataclasses.dataclass(frozen=True)
class Lengths:
    """Slots that the examples of k blocks would fill, uncut; `block_size` of them a block."""

    text: Int64[np.ndarray, "k n"]
    video: Int64[np.ndarray, "k n"]

    @property
    def block_size(self) -> int:
        return self.text.shape[1]


@dataclasses.dataclass(frozen=True)
class Side:
    """A side of the rows: slots a row, share of them filled, share of pieces (clips) cut off."""

    capacity: int
    filled: float
    cut: float


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Examples a row, and the shortest rows that cut no more than was allowed.

    work: slots an example, each weighed as one slot's matrix products in a layer, of which dense
    attention's grow with the row.
    """

    examples: int
    text: Side
    video: Side
    work: float

    @property
    def filled(self) -> float:
        """Share of the slots of both sides that are filled."""
        slots = self.text.capacity + self.video.capacity
        used = self.text.filled * self.text.capacity + self.video.filled * self.video.capacity
        return used / slots


def measure(builder: BlockBuilder, blocks: int) -> Lengths:
    """Lengths of the first blocks of a run."""
    progress = Progress("blocks measured", blocks)
    text, video = [], []
    for k in range(blocks):
        measured = fill.measure(builder.choose(k), builder.tokenizer)
        text.append(measured.text)
        video.append(measured.video)
        progress.step()
    return Lengths(np.stack(text), np.stack(video))


def fit(
    lengths: Lengths, examples: int, *, multiple: int, most_cut: float, embed_dim: int
) -> Candidate:
    """The shortest rows of `examples` examples, multiples of `multiple`, that cut at most the share
    `most_cut` of the pieces and of the clips. Raises PackingError where a side is empty."""
    for things, of_side in (("caption", lengths.text), ("clip", lengths.video)):
        if not of_side.any():
            raise PackingError(
                f"no example of the {of_side.size:,} measured has a {things}, so nothing says how "
                "long its rows should be; choose another split, or another regime of the sources"
            )
    sides = (lengths.text, lengths.video)
    loads = _loads(lengths, examples, None)
    shortest = (SHORTEST_TEXT * examples, SHORTEST_VIDEO * examples)
    capacities = [
        _capacity(of_rows, of_side, ends, multiple, most_cut, least)
        for of_rows, of_side, ends, least in zip(loads, sides, _ENDS, shortest, strict=True)
    ]
    while True:
        # What is longer than a whole row is cut before it is placed, so places may change.
        if any(of_side.max() > most for of_side, most in zip(sides, capacities, strict=True)):
            loads = _loads(lengths, examples, (capacities[0], capacities[1]))
        found = [
            _side(of_rows, of_side, ends, capacity)
            for of_rows, of_side, ends, capacity in zip(
                loads, sides, _ENDS, capacities, strict=True
            )
        ]
        if all(side.cut <= most_cut for side in found):
            return Candidate(examples, found[0], found[1], _work(capacities, examples, embed_dim))
        for number, side in enumerate(found):
            capacities[number] += multiple * (side.cut > most_cut)


def choose(candidates: Sequence[Candidate]) -> Candidate:
    """The candidate of least work: slots well filled, in rows that are not too long."""
    return min(candidates, key=lambda candidate: candidate.work)


_ENDS = (fill.NUM_ENDS, 0)  # slots of an example that are neither pieces nor clips


def _loads(
    lengths: Lengths, examples: int, capacities: tuple[int, int] | None
) -> tuple[Int64[np.ndarray, " r"], Int64[np.ndarray, " r"]]:
    """Slots that every row of every block would fill on both sides."""
    rows = lengths.block_size // examples
    text_loads, video_loads = [], []
    for text, video in zip(lengths.text, lengths.video, strict=True):
        if capacities is not None:
            text, video = np.minimum(text, capacities[0]), np.minimum(video, capacities[1])
        at = packing.assign(text, video, rows)
        text_loads.append(text[at].reshape(rows, -1).sum(axis=1))
        video_loads.append(video[at].reshape(rows, -1).sum(axis=1))
    return np.concatenate(text_loads), np.concatenate(video_loads)


def _side(
    loads: Int64[np.ndarray, " r"], wanted: Int64[np.ndarray, "k n"], ends: int, capacity: int
) -> Side:
    kept = np.minimum(loads, capacity).sum()
    units = wanted.sum() - ends * np.count_nonzero(wanted)
    return Side(
        capacity, float(kept / (capacity * len(loads))), float((wanted.sum() - kept) / units)
    )


def _capacity(
    loads: Int64[np.ndarray, " r"],
    wanted: Int64[np.ndarray, "k n"],
    ends: int,
    multiple: int,
    most_cut: float,
    least: int,
) -> int:
    """The smallest multiple, `least` or more, at which these rows cut no more than is allowed."""
    capacity = math.ceil(least / multiple) * multiple
    while _side(loads, wanted, ends, capacity).cut > most_cut:
        capacity += multiple
    return capacity


def _work(capacities: Sequence[int], examples: int, embed_dim: int) -> float:
    """A layer's projections and feed-forward, four times as wide, are 24 d^2 FLOPs a slot, scores
    and context 4 d for each slot of the row (counted as by Kaplan et al. 2020, section 2.1)."""
    return sum(length * (1 + length / (6 * embed_dim)) for length in capacities) / examples
