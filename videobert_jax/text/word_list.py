"""A list of words, and sentences as their numbers, as MIL-NCE's text tower takes them."""

import os
import re

import numpy as np
from jaxtyping import Int

from videobert_jax.files import arrays

_WORD = re.compile(r"[\w']+")
PADDING_ID = 0


class WordListError(ValueError):
    """A file that is no list of words, or a list of another network."""


class WordList:
    """Words numbered from 1 in their order; 0 is padding. Of a word that comes twice, the last."""

    def __init__(self, words: list[str]):
        self._ids = {word: number for number, word in enumerate(words, start=1)}

    def ids(self, sentence: str) -> list[int]:
        """Numbers of the sentence's words, small letters, those that the list lacks left out."""
        words = _WORD.findall(sentence.lower())
        return [self._ids[word] for word in words if word in self._ids]

    def encode(self, sentences: list[str], length: int) -> Int[np.ndarray, "b {length}"]:
        """The first `length` numbers of each sentence, padded with 0, int32."""
        rows = np.full((len(sentences), length), PADDING_ID, np.int32)
        for row, sentence in zip(rows, sentences, strict=True):
            ids = self.ids(sentence)[:length]
            row[: len(ids)] = ids
        return rows


def read(path: str | os.PathLike, vectors: int) -> WordList:
    """The list of a .npy file of strings, such as MIL-NCE's s3d_dict.npy.

    `vectors`: rows of the network's table, padding's counted. A list of as many words is taken too:
    the network, which numbers them from 1, knows the last one no more than this list.
    Raises WordListError where it holds something else, ArrayFileError where it is damaged.
    """
    words = arrays.read_npy(path)
    if words.ndim != 1 or words.dtype.kind not in "US" or len(words) not in (vectors - 1, vectors):
        raise WordListError(
            f"{path} holds {words.dtype} of shape {list(words.shape)}, expected {vectors - 1} "
            "words; give the s3d_dict.npy that is published with the weights."
        )
    if words.dtype.kind == "S":
        words = np.char.decode(words, "utf-8")
    return WordList(words[: vectors - 1].tolist())
