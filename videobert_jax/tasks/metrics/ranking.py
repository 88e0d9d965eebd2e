"""Ranks of the right candidates among all, and what is read off them."""

import numpy as np
from jaxtyping import Float, Int, Shaped

from videobert_jax.tasks.errors import EvaluationError

RECALL_AT = (1, 5, 10)
TIES = "rank = 1 + number scored strictly higher + half of those scored equal"


def ranks(scores: Float[np.ndarray, "q k"], targets: Int[np.ndarray, " q"]) -> np.ndarray:
    """Rank of each query's target, float64 [q], from 1; halves where candidates tie.

    rank = 1 + candidates scored strictly higher + half of the others scored equal, so a constant
    score gives (k + 1) / 2 and gains nothing. Raises EvaluationError on a score that is not
    finite: a NaN compares false with all, which would rank its target first.
    """
    if not np.isfinite(scores).all():
        raise EvaluationError(
            f"{int((~np.isfinite(scores)).sum())} of {scores.size} scores are not finite, so no "
            "rank can be told; look for NaN in the checkpoint's parameters or in the features."
        )
    target_scores = np.take_along_axis(scores, targets[:, None], axis=1)
    higher = (scores > target_scores).sum(axis=1)
    equal = (scores == target_scores).sum(axis=1) - 1
    return 1.0 + higher + equal / 2.0


def reranked(
    tower_ranks: Float[np.ndarray, " q"],
    shortlist: Int[np.ndarray, "q s"],
    shortlist_scores: Float[np.ndarray, "q s"],
    targets: Int[np.ndarray, " q"],
) -> np.ndarray:
    """Ranks, float64 [q], after the `s` first candidates were put in the order of new scores.

    A target that is not in its shortlist keeps its rank, and is never before place s + 1.
    """
    size = shortlist.shape[1]
    inside = shortlist == targets[:, None]
    present = inside.any(axis=1)
    new = ranks(shortlist_scores, np.where(present, inside.argmax(axis=1), 0))
    return np.where(present, new, np.maximum(tower_ranks, size + 1.0))


def shortlist(scores: Float[np.ndarray, "q k"], size: int) -> Shaped[np.ndarray, "q s"]:
    """Indices, int64 [q, s], of the best candidates of each query, best first, s = min(size, k)."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :size]


def summary(values: Float[np.ndarray, " q"], prefix: str) -> dict[str, float]:
    """R@1, R@5, R@10 (fractions) and median rank of ranks, named `{prefix}_R1` and so on."""
    recalls = {f"{prefix}_R{at}": float((values <= at).mean()) for at in RECALL_AT}
    return {**recalls, f"{prefix}_median_rank": float(np.median(values))}


def chance(num_candidates: int, prefix: str) -> dict[str, float]:
    """Exact expectation of `summary` when every order of the candidates is equally likely.

    The rank is uniform on 1..n; the median of draws from a symmetric distribution has its centre,
    (n + 1) / 2, as expectation.
    """
    recalls = {f"{prefix}_R{at}": min(at / num_candidates, 1.0) for at in RECALL_AT}
    return {**recalls, f"{prefix}_median_rank": (num_candidates + 1) / 2.0}
