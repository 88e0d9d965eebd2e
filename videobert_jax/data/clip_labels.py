"""What is shown at a time of a video, by the labels of its examples: a step, or none of them."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Int32

from videobert_jax import schema
from videobert_jax.data import packing
from videobert_jax.data.index import Split
from videobert_jax.schema import NO_LABEL


@dataclasses.dataclass(frozen=True)
class ClipLabels:
    """Label of every clip of a split's videos, one video's behind another's.

    labels: numbers, that of no step included, schema.NO_LABEL where it is not told. starts: place
    of each video's first clip.
    """

    labels: Int32[np.ndarray, " m"]
    starts: Int[np.ndarray, " w"]

    def of(
        self, videos: Int[np.ndarray, " n"], clips: Int[np.ndarray, " n"]
    ) -> Int32[np.ndarray, " n"]:
        return self.labels[self.starts[videos] + clips]


@dataclasses.dataclass(frozen=True)
class LabelList:
    """What a network tells clips to show: labels of a kind by number, and behind them none."""

    kind: str
    names: tuple[str, ...]

    def of(self, split: Split) -> ClipLabels | None:
        """Of the clips of a split, not told where theirs is none of the list; None where it has no
        labels of the kind."""
        if self.kind not in split.labels:
            return None
        number = {name: place for place, name in enumerate(self.names)}
        labels = split.labels[self.kind]
        none, unlisted = len(self.names), len(self.names) + 1
        table = np.array([*(number.get(name, unlisted) for name in labels.names), NO_LABEL])
        found = of_clips(split, table[labels.ids])
        shown = np.where(found == NO_LABEL, none, found)
        shown = np.where(found == unlisted, schema.NO_LABEL, shown)
        return ClipLabels(shown.astype(np.int32), starts(split))


def names(splits: Sequence[Split], kind: str) -> tuple[str, ...]:
    """Labels of a kind that the splits' examples have, in the order of the alphabet."""
    found: set[str] = set()
    for split in splits:
        if kind in split.labels:
            labels = split.labels[kind]
            found |= {labels.names[i] for i in np.unique(labels.ids).tolist() if i != NO_LABEL}
    return tuple(sorted(found))


def of_clips(split: Split, of_examples: Int[np.ndarray, " n"]) -> Int32[np.ndarray, " m"]:
    """Label of every clip of every video, one video's behind another's: that of the example in
    which its centre lies; of several the one that begins last; NO_LABEL in none.

    of_examples: numbers of the examples' labels, NO_LABEL where one has none and says nothing.
    Raises ValueError where the contract has no stride.
    """
    found = np.full(int(split.num_clips.sum(dtype=np.int64)), NO_LABEL, np.int32)
    stride = split.contract.stride_seconds
    centre = split.contract.covered_seconds(1) / 2  # of a video's first clip
    chosen = np.flatnonzero(of_examples != NO_LABEL)
    chosen = chosen[np.argsort(split.start[chosen], kind="stable")]
    counts = split.num_clips[split.video[chosen]].astype(np.int64)
    first, behind = (
        np.clip(np.ceil(np.round((edge[chosen] - centre) / stride, 6)), 0, counts).astype(np.int64)
        for edge in (split.start, split.end)
    )
    owners, places = packing.spread(np.maximum(behind - first, 0))
    # of several values for one place the last is kept
    at = starts(split)[split.video[chosen]][owners] + first[owners] + places
    found[at] = of_examples[chosen][owners]
    return found


def starts(split: Split) -> Int[np.ndarray, " w"]:
    """Place of each video's first clip among all of the split, and how many there are."""
    return np.concatenate([[0], np.cumsum(split.num_clips, dtype=np.int64)])


def at_times(
    split: Split, of_examples: Int[np.ndarray, " n"], video: int, times: Float[np.ndarray, " t"]
) -> Int32[np.ndarray, " t"]:
    """Label at each time of a video, in seconds, by the same rule."""
    first, behind = np.searchsorted(split.video, [video, video + 1])
    examples = np.arange(first, behind)[of_examples[first:behind] != NO_LABEL]
    found = np.full(len(times), NO_LABEL, np.int32)
    for example in examples[np.argsort(split.start[examples], kind="stable")].tolist():
        inside = (times >= split.start[example]) & (times < split.end[example])
        found[inside] = of_examples[example]
    return found
