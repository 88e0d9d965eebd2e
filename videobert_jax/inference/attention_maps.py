"""What a trained network looks at: attention between words and clips, lines beside moments.

Weights are those of the network itself: averaged over heads and summed over the pieces of a word,
in one layer or rolled out over all of them (`models.attention_rollout`).
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
    """Attention of one pair, w words and v clips, across its sides.

    text_reads_video [w, v]: of a word over the clips. video_reads_text [v, w]: of a clip over the
    words. A row sums to 1. layer and head count from 1; head None: the mean over heads. layer None:
    rolled out, of what a word's output has of the clips, and a clip's of the words.
    """

    words: tuple[Word, ...]
    text_reads_video: np.ndarray
    video_reads_text: np.ndarray
    layer: int | None
    head: int | None

    @property
    def is_rollout(self) -> bool:
        return self.layer is None


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
    rollout: bool = False,
    truncate: bool = False,
) -> WordAttention:
    """Cross-attention of a text and its clips in a layer (None: the last), by word.

    `head`: that head alone (None: the mean over all). Both count from 1. `rollout`: over all
    layers instead. Raises InputError where there is no such layer or head, where one is named
    beside a rollout, and as `PretrainedModel.cross_attention` does.
    """
    if rollout:
        if layer is not None or head is not None:
            raise InputError(
                f"a rollout, and layer {layer}, head {head}; it is over all layers and the mean "
                "of all heads: ask for one of the two."
            )
        (found,) = _rolled_out(model, [video], [text], truncate)
        return found
    words = words_of_pieces(model.tokenizer, model.tokenize(text, truncate=truncate)[0])
    weights = model.cross_attention(video, text, truncate=truncate)
    _, num_layers, num_heads, *_ = weights.text_reads_video.shape
    depth = num_layers if layer is None else layer
    for name, number, count in (("layer", depth, num_layers), ("head", head, num_heads)):
        if number is not None and not 1 <= number <= count:
            raise InputError(f"{name} {number} of the cross-modal encoder; it has 1 to {count}.")
    return _in_layer(words, weights.text_reads_video[0], weights.video_reads_text[0], depth, head)


def attend_everywhere(
    model: "PretrainedModel",
    videos: Sequence[Float[np.ndarray, "_ c"]],
    texts: Sequence[str],
    *,
    truncate: bool = False,
) -> list[list[WordAttention]]:
    """All that `attend` tells of each pair: its rollout, then of every layer the mean over heads
    and every head. Raises InputError as it does."""
    weights = model.cross_attention(videos, texts, truncate=truncate)
    _, num_layers, num_heads, *_ = weights.text_reads_video.shape
    found = []
    for pair, rolled_out in enumerate(_rolled_out(model, videos, texts, truncate)):
        words, count = rolled_out.words, len(videos[pair])
        by_text = weights.text_reads_video[pair, :, :, : words[-1].stop, :count]
        by_video = weights.video_reads_text[pair, :, :, :count, : words[-1].stop]
        maps = [
            _in_layer(words, by_text, by_video, layer, head)
            for layer in range(1, num_layers + 1)
            for head in (None, *range(1, num_heads + 1))
        ]
        found.append([rolled_out, *maps])
    return found


def _in_layer(
    words: tuple[Word, ...],
    by_text: Float[np.ndarray, "l n t v"],
    by_video: Float[np.ndarray, "l n v t"],
    layer: int,
    head: int | None,
) -> WordAttention:
    heads = slice(None) if head is None else slice(head - 1, head)
    text, video = (side[layer - 1, heads].mean(0) for side in (by_text, by_video))
    return WordAttention(words, reading_words(text, words), read_words(video, words), layer, head)


def _rolled_out(
    model: "PretrainedModel",
    videos: Sequence[Float[np.ndarray, "_ c"]],
    texts: Sequence[str],
    truncate: bool,
) -> list[WordAttention]:
    """Rollouts by word, of each side over the other. Every row of the rollout has half of itself
    there, in each network: a first cross layer mixes the two sides half and half, and nothing
    behind it changes that. So only where that half lies is told, as a row that sums to 1."""
    blocks = model.attention_rollout(videos, texts, truncate=truncate)
    found = []
    for pair, ids in enumerate(model.tokenize(texts, truncate=truncate)):
        words, count = words_of_pieces(model.tokenizer, ids), len(videos[pair])
        by_text = reading_words(blocks.text_from_video[pair, : len(ids), :count], words)
        by_video = read_words(blocks.video_from_text[pair, :count, : len(ids)], words)
        text, video = (side / side.sum(1, keepdims=True) for side in (by_text, by_video))
        found.append(WordAttention(words, text, video, layer=None, head=None))
    return found


def match(
    model: "PretrainedModel",
    moments: Sequence[Float[np.ndarray, "_ c"]],
    lines: Sequence[str],
    *,
    truncate: bool = False,
) -> Matches:
    """Every line beside every moment, by the towers alone. Raises InputError as they do."""
    return Matches(model.similarity(moments, lines, truncate=truncate).T)
