"""Accuracy over a declared list of labels."""

import math

import numpy as np
from jaxtyping import Float, Int

from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.metrics import ranking
from videobert_jax.tasks.metrics.statistic import Statistic

TOP = (1, 5)
AVERAGING = "micro: every example counts once"


def summary(
    scores: Float[np.ndarray, "q k"], labels: Int[np.ndarray, " q"], prefix: str
) -> dict[str, float]:
    """`{prefix}_top1` and `{prefix}_top5`, fractions, ties ranked as in `ranking.ranks`."""
    return from_ranks(ranking.ranks(scores, labels), prefix)


def from_ranks(values: Float[np.ndarray, " q"], prefix: str) -> dict[str, float]:
    return {f"{prefix}_top{top}": float((values <= top).mean()) for top in TOP}


def statistics(prefix: str, *path: str) -> dict[str, Statistic]:
    """How the figures of `from_ranks` are read off lines that have the rank at `path`."""
    return {f"{prefix}_top{top}": Statistic.share(*path, at_most=top) for top in TOP}


def chance(
    num_labels: int, prefix: str, num_right: Int[np.ndarray, " q"] | None = None
) -> dict[str, float]:
    """Exact expectation of `from_ranks` for a random order of k labels.

    num_right: how many of them are right of each query, the first counting; None, one of each. With
    r right ones none is among the first t with probability C(k - r, t) / C(k, t).
    """
    counts = np.ones(1, np.int64) if num_right is None else num_right
    numbers, queries = np.unique(counts, return_counts=True)
    found = {}
    for top in TOP:
        drawn = min(top, num_labels)
        orders = math.comb(num_labels, drawn)
        hits = [1 - math.comb(num_labels - r, drawn) / orders for r in numbers.tolist()]
        found[f"{prefix}_top{top}"] = float(np.average(hits, weights=queries))
    return found


def majority_scores(labels: Int[np.ndarray, " n"], num_labels: int) -> np.ndarray:
    """Scores, float64 [1, k]: how often each label occurs, for a classifier that sees no input."""
    return np.bincount(labels, minlength=num_labels).astype(np.float64)[None]


def right_shares(
    scores: Float[np.ndarray, "q k"], right: Int[np.ndarray, " q"]
) -> Float[np.ndarray, " q"]:
    """How much each query counts as right, float64: 1 where its right candidate alone has the
    highest score, 1 / n where n candidates share it, 0 where it has less, or there is none (-1).

    Candidates of -inf are not there. Raises EvaluationError on NaN.
    """
    if np.isnan(scores).any():
        raise EvaluationError(
            f"{int(np.isnan(scores).sum())} of {scores.size} scores are NaN; look for NaN in the "
            "checkpoint's parameters or in the features."
        )
    best = scores == scores.max(axis=1, keepdims=True)
    chosen = best[np.arange(len(right)), right] & (right >= 0)
    return chosen / best.sum(axis=1)
