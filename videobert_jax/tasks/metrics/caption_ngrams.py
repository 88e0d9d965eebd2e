"""Which runs of one to four words stand in which sentence, and how often, for a whole corpus."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int

LONGEST = 4


@dataclasses.dataclass(frozen=True)
class Counts:
    """The runs of one length: `count` times `gram` in `sentence`, each pair once, in its order.

    All int64 [m]; grams are numbered from 0 to num_grams - 1.
    """

    sentence: np.ndarray
    gram: np.ndarray
    count: np.ndarray
    num_grams: int

    def where(self, first: int, last: int) -> "Counts":
        """Those of sentences `first` to `last` - 1, which are then numbered from 0."""
        begin, end = np.searchsorted(self.sentence, [first, last])
        kept = slice(begin, end)
        return dataclasses.replace(
            self,
            sentence=self.sentence[kept] - first,
            gram=self.gram[kept],
            count=self.count[kept],
        )

    def keys(self, groups: Int[np.ndarray, " s"] | None = None) -> np.ndarray:
        """A number, int64 [m], for every pair of a sentence, or of its group, and a gram."""
        owner = self.sentence if groups is None else groups[self.sentence]
        return owner * self.num_grams + self.gram


def count(sentences: Sequence[Sequence[str]]) -> Iterator[Counts]:
    """Counts of runs of 1, 2, ... LONGEST words."""
    numbers: dict[str, int] = {}
    lengths = np.array([len(sentence) for sentence in sentences], np.int64)
    words = np.array(
        [numbers.setdefault(word, len(numbers)) for sentence in sentences for word in sentence],
        np.int64,
    )
    owner = np.repeat(np.arange(len(lengths)), lengths)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(words))  # to the sentence's end
    starts, grams = np.arange(len(words)), words
    for length in range(1, LONGEST + 1):
        if length > 1:
            fits = left[starts] >= length
            starts = starts[fits]
            pairs = grams[fits] * (len(numbers) + 1) + words[starts + length - 1]
            grams = np.unique(pairs, return_inverse=True)[1]
        num_grams = int(grams.max(initial=-1)) + 1
        found, counts = np.unique(owner[starts] * max(num_grams, 1) + grams, return_counts=True)
        sentence, gram = np.divmod(found, max(num_grams, 1))
        yield Counts(sentence, gram, counts, num_grams)


def look_up(
    keys: Int[np.ndarray, " m"], values: np.ndarray, wanted: Int[np.ndarray, " k"]
) -> np.ndarray:
    """The values, [k], of `wanted` among sorted `keys`; 0 for those that are not there."""
    if not len(keys):
        return np.zeros(len(wanted), values.dtype)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], 0)
