"""BLEU of counts (Papineni et al. 2002): of a caption, or of many by the sums of theirs.

With the constants that pycocoevalcap adds to counts.
"""

import numpy as np
from jaxtyping import Float, Int

ORDERS = range(1, 5)
NAMES = tuple(f"BLEU_{order}" for order in ORDERS)
_TINY, _SMALL = 1e-15, 1e-9  # what the peer adds to matches and to counts, against 0 / 0


def counts(
    matches: Int[np.ndarray, "o n"],
    runs: Int[np.ndarray, "o n"],
    lengths: Int[np.ndarray, " n"],
    of_references: Int[np.ndarray, " n"],
) -> Int[np.ndarray, "n k"]:
    """What BLEU is told of: of each caption its runs of one to four words that a reference has too,
    those runs that it has, its words, and those of the reference nearest in length."""
    return np.concatenate([matches, runs, lengths[None], of_references[None]]).T


def of_sums(sums: Float[np.ndarray, "d k"]) -> Float[np.ndarray, "d o"]:
    """BLEU_1 to BLEU_4 of sums of `counts`: geometric means of the first precisions, times the
    brevity penalty."""
    most = len(ORDERS)
    matches, runs, (length, reference_length) = np.split(sums.T, [most, 2 * most])
    products = np.cumprod((matches + _TINY) / (runs + _SMALL), axis=0)
    ratio = (length + _TINY) / (reference_length + _SMALL)
    means = products ** (1 / np.array(ORDERS)[:, None])
    return (means * np.exp(np.minimum(1 - 1 / ratio, 0))).T
