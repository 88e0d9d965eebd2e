"""Labels and captions told apart by the words that a clip's caption is expected to have.

By the head of the bag-of-words objective, which sees the clips alone and says of every piece how
likely the caption has it.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from videobert_jax.tasks import baselines, prompts
from videobert_jax.tasks.cloze import Candidates
from videobert_jax.tasks.metrics.similarity import Products
from videobert_jax.text.tokenizer import Tokenizer

SCORE = (
    "a label's share of the expected presence of its surface forms in the caption, their sum; a "
    "form of several pieces is as present as the least of them"
)
_FLOOR = 1e-3  # of presence, which a squared error does not keep above 0
_RAREST = 1e-3  # share of captions below which a piece counts no more


def scores(candidates: Candidates, presence: Float[np.ndarray, "n w"]) -> Float[np.ndarray, "n k"]:
    """Log-probability of each label by the expected presence of every piece."""
    of_labels = np.zeros((len(presence), candidates.num_labels), np.float32)
    for pieces, label in zip(candidates.pieces, candidates.labels.tolist(), strict=True):
        of_labels[:, label] += presence[:, pieces].min(axis=1)
    return prompts.log_softmax(np.log(np.maximum(of_labels, _FLOOR)))


def similarity(
    tokenizer: Tokenizer, captions: Sequence[Sequence[int]], presence: Float[np.ndarray, "n w"]
) -> Products:
    """Cosine of each caption's pieces (rows) with the pieces that each video's caption is expected
    to have (columns), rare pieces counting more.

    Both are weighed by the inverse document frequency (Sparck Jones 1972) that the tokenizer's
    shares of pieces make in captions as long as these.
    """
    of_captions = np.zeros((len(captions), presence.shape[1]), np.float32)
    for row, pieces in enumerate(captions):
        of_captions[row, [piece for piece in pieces if piece >= tokenizer.first_regular_id]] = 1.0
    length = max(float(of_captions.sum(axis=1).mean()), 1.0)
    frequencies = np.zeros(presence.shape[1])  # of pieces that pad the vocabulary: never there
    frequencies[: tokenizer.size] = -np.expm1(length * np.log1p(-tokenizer.frequencies))
    rarity = -np.log(np.clip(frequencies, _RAREST, 1.0)).astype(np.float32)
    expected = np.maximum(presence, 0.0) * rarity
    return Products(*map(baselines.unit_rows, (of_captions * rarity, expected)))
