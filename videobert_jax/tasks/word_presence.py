"""Labels told apart by the words that a clip's caption is expected to have.

By the head of the bag-of-words objective, which sees the clips alone and says of every piece how
likely the caption has it.
"""

import numpy as np
from jaxtyping import Float

from videobert_jax.tasks import prompts
from videobert_jax.tasks.cloze import Candidates

SCORE = (
    "a label's share of the expected presence of its surface forms in the caption, their sum; a "
    "form of several pieces is as present as the least of them"
)
_FLOOR = 1e-3  # of presence, which a squared error does not keep above 0


def scores(candidates: Candidates, presence: Float[np.ndarray, "n w"]) -> Float[np.ndarray, "n k"]:
    """Log-probability of each label by the expected presence of every piece."""
    of_labels = np.zeros((len(presence), candidates.num_labels), np.float32)
    for pieces, label in zip(candidates.pieces, candidates.labels.tolist(), strict=True):
        of_labels[:, label] += presence[:, pieces].min(axis=1)
    return prompts.log_softmax(np.log(np.maximum(of_labels, _FLOOR)))
