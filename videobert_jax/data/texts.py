"""What examples say: their captions, or the sentences that are spoken while they are shown."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Int64

from videobert_jax.data import packing, random_reads
from videobert_jax.data.index import Split


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Piece ids of the texts of n examples, one behind another; counts: how many each has."""

    ids: Int[np.ndarray, " p"]
    counts: Int64[np.ndarray, " n"]

    @classmethod
    def of(
        cls, encoded: Sequence[Sequence[int]], places: Int64[np.ndarray, " m"], num_examples: int
    ) -> "Encoded":
        """Of the examples at `places`, in their order; the others have none."""
        counts = np.zeros(num_examples, np.int64)
        counts[places] = np.fromiter(map(len, encoded), np.int64, len(encoded))
        flat = itertools.chain.from_iterable(encoded)
        return cls(np.fromiter(flat, np.int32, int(counts.sum())), counts)

    def taken(
        self,
        at: Int64[np.ndarray, " m"],
        owners: Int64[np.ndarray, " q"],
        places: Int64[np.ndarray, " q"],
    ) -> Int[np.ndarray, " q"]:
        """Piece `places[i]` of example `at[owners[i]]`."""
        firsts = (np.cumsum(self.counts) - self.counts)[at]
        return self.ids[firsts[owners] + places]


def captions(
    split: Split, ids: Int64[np.ndarray, " m"], joined: Int64[np.ndarray, " m"]
) -> list[str]:
    """Captions, each with that of the example it is joined with behind it."""
    texts = split.texts(ids)
    places = np.flatnonzero(joined >= 0)
    for place, following in zip(places.tolist(), split.texts(joined[places]), strict=True):
        texts[place] = f"{texts[place]} {following}"
    return texts


class Spoken:
    """What is said while examples of `split` are shown: sentences of `transcripts`, another split
    of the same videos, that share time with them. Picklable: a copy opens the splits anew."""

    def __init__(self, split: Split, transcripts: Split):
        """Raises ValueError where no video has transcripts, or no sentence has a length in time."""
        self.split, self.transcripts = split, transcripts
        numbers = {name: number for number, name in enumerate(transcripts.videos)}
        video = np.array([numbers.get(name, -1) for name in split.videos], np.int64)
        found = f"split {transcripts.name} of {transcripts.path}"
        if not (video >= 0).any():
            raise ValueError(f"{found} has no video of split {split.name}; use its transcripts.")
        if not (transcripts.end > transcripts.start).any():
            raise ValueError(f"{found} says of no sentence when it is spoken; use timed ones.")
        # Examples of a video stand one behind another, in the order of videos.
        numbered = np.arange(len(transcripts.videos) + 1, dtype=transcripts.video.dtype)
        borders = np.searchsorted(transcripts.video, numbered)
        self._firsts = borders[video]
        self._counts = np.where(video >= 0, borders[video + 1] - self._firsts, 0)

    def __reduce__(self):
        return Spoken, (self.split, self.transcripts)

    def texts(self, ids: Int64[np.ndarray, " m"], joined: Int64[np.ndarray, " m"]) -> list[str]:
        """What is said during each example, with that it is joined with; sentences in order."""
        split, transcripts = self.split, self.transcripts
        last = np.where(joined >= 0, joined, ids)
        begin = np.minimum(
            random_reads.take(split.start, ids), random_reads.take(split.start, last)
        )
        end = np.maximum(random_reads.take(split.end, ids), random_reads.take(split.end, last))
        video = random_reads.take(split.video, ids)
        owners, places = packing.spread(self._counts[video])
        sentences = self._firsts[video][owners] + places
        starts = random_reads.take(transcripts.start, sentences)
        shared = starts < end[owners]
        shared &= random_reads.take(transcripts.end, sentences) > begin[owners]
        order = np.flatnonzero(shared)
        order = order[np.lexsort((starts[order], owners[order]))]
        said: list[list[str]] = [[] for _ in ids]
        sentence_texts = transcripts.texts(sentences[order])
        for owner, text in zip(owners[order].tolist(), sentence_texts, strict=True):
            said[owner].append(text)
        return [" ".join(of_example) for of_example in said]
