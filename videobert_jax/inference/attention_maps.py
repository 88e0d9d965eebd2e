"""What a trained network looks at: attention between words and clips, lines beside moments.

Weights are those of the network itself; they are averaged over heads and summed over the pieces
of a word, and nothing else is done to them.
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float

from videobert_jax.inference.inputs import InputError
from videobert_jax.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from videobert_jax.inference.model import PretrainedModel


class Word(NamedTuple):
    """A word as the network reads it, and its pieces `[start, stop)`; [CLS] and [SEP] are such."""

    text: str
    start: int
    stop: int


@dataclasses.dataclass(frozen=True)
class WordAttention:
    """Cross-attention of one pair, w words and v clips, in one layer.

    text_reads_video [w, v]: of a word over the clips. video_reads_text [v, w]: of a clip over the
    words. A row sums to 1. layer and head count from 1; head None: the mean over heads.
    """

    words: tuple[Word, ...]
    text_reads_video: np.ndarray
    video_reads_text: np.ndarray
    layer: int
    head: int | None


@dataclasses.dataclass(frozen=True)
class Matches:
    """Cosines [n, n] of n lines (rows) with the n moments (columns) at which they are said."""

    cosines: np.ndarray

    @property
    def best_moments(self) -> np.ndarray:
        """int [n], of each line the moment that the towers find most similar to it."""
        return self.cosines.argmax(1)

    @property
    def num_right(self) -> int:
        """Lines whose most similar moment is their own."""
        return int((self.best_moments == np.arange(len(self.cosines))).sum())


def words_of_pieces(tokenizer: Tokenizer, ids: Sequence[int]) -> tuple[Word, ...]:
    """Words of a text's piece ids, in order; every piece belongs to exactly one."""
    special = {tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id}
    starts = [
        place
        for place, piece in enumerate(ids)
        if place == 0
        or piece in special
        or ids[place - 1] in special
        or tokenizer.word_starts[piece]
    ]
    words = []
    for start, stop in zip(starts, [*starts[1:], len(ids)], strict=True):
        is_special = ids[start] in special
        text = tokenizer.piece(ids[start]) if is_special else tokenizer.decode(ids[start:stop])
        words.append(Word(text, start, stop))
    return tuple(words)


def read_words(
    weights: Float[np.ndarray, "q t"], words: Sequence[Word]
) -> Float[np.ndarray, "q w"]:
    """Weights over words: the sum of those over their pieces, so that a row's sum stays."""
    return np.add.reduceat(weights, [word.start for word in words], axis=1)


def reading_words(
    weights: Float[np.ndarray, "t k"], words: Sequence[Word]
) -> Float[np.ndarray, "w k"]:
    """Weights that words give: the mean of those of their pieces, so that a row's sum stays."""
    return np.stack([weights[word.start : word.stop].mean(0) for word in words])


def attend(
    model: "PretrainedModel",
    video: Float[np.ndarray, "v c"],
    text: str,
    *,
    layer: int | None = None,
    head: int | None = None,
    truncate: bool = False,
) -> WordAttention:
    """Cross-attention of a text and its clips in a layer (None: the last), by word.

    `head`: that head alone (None: the mean over all). Both count from 1. Raises InputError where
    there is no such layer or head, and as `PretrainedModel.cross_attention` does.
    """
    words = words_of_pieces(model.tokenizer, model.tokenize(text, truncate=truncate)[0])
    weights = model.cross_attention(video, text, truncate=truncate)
    _, num_layers, num_heads, *_ = weights.text_reads_video.shape
    depth = num_layers if layer is None else layer
    for name, number, count in (("layer", depth, num_layers), ("head", head, num_heads)):
        if number is not None and not 1 <= number <= count:
            raise InputError(f"{name} {number} of the cross-modal encoder; it has 1 to {count}.")
    heads = slice(None) if head is None else slice(head - 1, head)
    by_text, by_video = (side[0, depth - 1, heads].mean(0) for side in weights)
    return WordAttention(
        words, reading_words(by_text, words), read_words(by_video, words), depth, head
    )


def match(
    model: "PretrainedModel",
    moments: Sequence[Float[np.ndarray, "_ c"]],
    lines: Sequence[str],
    *,
    truncate: bool = False,
) -> Matches:
    """Every line beside every moment, by the towers alone. Raises InputError as they do."""
    return Matches(model.similarity(moments, lines, truncate=truncate).T)
