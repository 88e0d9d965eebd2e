"""Accuracy over a declared list of labels."""

import numpy as np
from jaxtyping import Float, Int

from videobert_jax.tasks.metrics import ranking

TOP = (1, 5)
AVERAGING = "micro: every example counts once"


def summary(
    scores: Float[np.ndarray, "q k"], labels: Int[np.ndarray, " q"], prefix: str
) -> dict[str, float]:
    """`{prefix}_top1` and `{prefix}_top5`, fractions, ties ranked as in `ranking.ranks`."""
    return from_ranks(ranking.ranks(scores, labels), prefix)


def from_ranks(values: Float[np.ndarray, " q"], prefix: str) -> dict[str, float]:
    return {f"{prefix}_top{top}": float((values <= top).mean()) for top in TOP}


def chance(num_labels: int, prefix: str) -> dict[str, float]:
    """Exact expectation of `summary` for a random order of the labels."""
    return {f"{prefix}_top{top}": min(top / num_labels, 1.0) for top in TOP}


def majority_scores(labels: Int[np.ndarray, " n"], num_labels: int) -> np.ndarray:
    """Scores, float64 [1, k]: how often each label occurs, for a classifier that sees no input."""
    return np.bincount(labels, minlength=num_labels).astype(np.float64)[None]
