"""How many examples a row, and how long rows: fitted to the lengths of a run's own blocks.

Blocks are packed as the pipeline packs them, from the index alone; no feature is read.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Int64

from videobert_jax.data import fill, packing
from videobert_jax.data.block import BlockBuilder
from videobert_jax.data.config import SHORTEST_TARGET, SHORTEST_TEXT, SHORTEST_VIDEO
from videobert_jax.files.progress import Progress

T = TypeVar("T")


class PackingError(ValueError):
    """Lengths to which no rows can be fitted."""


@dataclasses.dataclass(frozen=True)
class OnSides(Generic[T]):
    """Something of each side of the rows. target: of captions to write, where there are any."""

    text: T
    video: T
    target: T | None

    @property
    def sides(self) -> dict[str, T]:
        """Those that there are, by name."""
        sides = {"text": self.text, "video": self.video}
        return sides if self.target is None else {**sides, "target": self.target}


@dataclasses.dataclass(frozen=True)
class Lengths(OnSides[Int64[np.ndarray, "k n"]]):
    """Slots that the examples of k blocks would fill, uncut; `block_size` of them a block."""

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
class Candidate(OnSides[Side]):
    """Examples a row, and the shortest rows that cut no more than was allowed.

    work: slots an example, each weighed as one slot's matrix products in a layer, of which dense
    attention's grow with the row.
    """

    examples: int
    work: float

    @property
    def filled(self) -> float:
        """Share of the slots of all sides that are filled."""
        sides = self.sides.values()
        used = sum(side.filled * side.capacity for side in sides)
        return used / sum(side.capacity for side in sides)


def measure(builder: BlockBuilder, blocks: int) -> Lengths:
    """Lengths of the first blocks of a run."""
    progress = Progress("blocks measured", blocks)
    with_targets = builder.settings.shape.target_length > 0
    text, video, target = [], [], []
    for k in range(blocks):
        measured = fill.measure(builder.choose(k), builder.tokenizer, with_targets)
        text.append(measured.text)
        video.append(measured.video)
        target.append(measured.targets.counts)
        progress.step()
    return Lengths(np.stack(text), np.stack(video), np.stack(target) if with_targets else None)


def fit(
    lengths: Lengths, examples: int, *, multiple: int, most_cut: float, embed_dim: int
) -> Candidate:
    """The shortest rows of `examples` examples, multiples of `multiple`, that cut at most the share
    `most_cut` of a side's pieces or clips. Raises PackingError where a side is empty."""
    sides = lengths.sides
    for name, of_side in sides.items():
        if not of_side.any():
            raise PackingError(
                f"no example of the {of_side.size:,} measured has a {_THINGS[name]}, so nothing "
                "says how long its rows should be; choose another split, or another regime of the "
                "sources"
            )
    loads = _loads(lengths, examples, None)
    capacities = {
        name: _capacity(
            loads[name], of_side, _ENDS[name], multiple, most_cut, _SHORTEST[name] * examples
        )
        for name, of_side in sides.items()
    }
    while True:
        # What is longer than a whole row is cut before it is placed, so places may change.
        if any(of_side.max() > capacities[name] for name, of_side in sides.items()):
            loads = _loads(lengths, examples, capacities)
        found = {
            name: _side(loads[name], of_side, _ENDS[name], capacities[name])
            for name, of_side in sides.items()
        }
        if all(side.cut <= most_cut for side in found.values()):
            work = _work(list(capacities.values()), examples, embed_dim)
            return Candidate(found["text"], found["video"], found.get("target"), examples, work)
        for name, side in found.items():
            capacities[name] += multiple * (side.cut > most_cut)


def choose(candidates: Sequence[Candidate]) -> Candidate:
    """The candidate of least work: slots well filled, in rows that are not too long."""
    return min(candidates, key=lambda candidate: candidate.work)


_THINGS = {"text": "caption", "video": "clip", "target": "caption to write"}
# slots of an example that are neither pieces nor clips; the fewest that one takes
_ENDS = {"text": fill.NUM_ENDS, "video": 0, "target": 1}
_SHORTEST = {"text": SHORTEST_TEXT, "video": SHORTEST_VIDEO, "target": SHORTEST_TARGET}


def _loads(
    lengths: Lengths, examples: int, capacities: dict[str, int] | None
) -> dict[str, Int64[np.ndarray, " r"]]:
    """Slots that every row of every block would fill on every side."""
    rows = lengths.block_size // examples
    sides = lengths.sides
    if capacities is not None:
        sides = {name: np.minimum(of_side, capacities[name]) for name, of_side in sides.items()}
    loads: dict[str, list[np.ndarray]] = {name: [] for name in sides}
    for k in range(len(lengths.text)):
        at = packing.assign([of_side[k] for of_side in sides.values()], rows)
        for name, of_side in sides.items():
            loads[name].append(of_side[k][at].reshape(rows, -1).sum(axis=1))
    return {name: np.concatenate(of_rows) for name, of_rows in loads.items()}


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
