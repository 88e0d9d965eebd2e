"""Ranks of the right candidates among all, and what is read off them."""

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from videobert_jax.tasks.errors import EvaluationError

RECALL_AT = (1, 5, 10)
TIES = (
    "rank = 1 + number scored strictly higher + half of those scored equal; of r right candidates "
    "with one score the first counts, with 1 / (r + 1) of the wrong ones scored equal"
)


def ranks(scores: Float[np.ndarray, "q k"], targets: Int[np.ndarray, " q"]) -> np.ndarray:
    """Rank of each query's one target, float64 [q], from 1; halves where candidates tie.

    A constant score gives (k + 1) / 2 and gains nothing. Raises as `first_ranks`.
    """
    return first_ranks(scores, targets[:, None] == np.arange(scores.shape[1])[None])


def first_ranks(scores: Float[np.ndarray, "q k"], right: Bool[np.ndarray, "q k"]) -> np.ndarray:
    """Rank of the first right candidate of each query, float64 [q], from 1.

    rank = 1 + wrong candidates scored strictly higher than the best right one + w / (r + 1), where
    w wrong and r right ones share its score: the mean place of the first right one over all orders
    of those. Every query needs a right candidate. Raises EvaluationError on a score that is not
    finite: a NaN compares false with all, which would rank its target first.
    """
    if not np.isfinite(scores).all():
        raise EvaluationError(
            f"{int((~np.isfinite(scores)).sum())} of {scores.size} scores are not finite, so no "
            "rank can be told; look for NaN in the checkpoint's parameters or in the features."
        )
    best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
    higher = (scores > best).sum(axis=1)
    equal = scores == best
    return 1.0 + higher + (equal & ~right).sum(axis=1) / ((equal & right).sum(axis=1) + 1.0)


def reranked(
    tower_ranks: Float[np.ndarray, " q"],
    shortlist: Int[np.ndarray, "q s"],
    shortlist_scores: Float[np.ndarray, "q s"],
    right: Bool[np.ndarray, "q k"],
) -> np.ndarray:
    """First ranks, float64 [q], after the `s` first candidates were put in the order of new scores.

    A query without a right candidate in its shortlist keeps its rank, never before place s + 1.
    """
    size = shortlist.shape[1]
    inside = np.take_along_axis(right, shortlist, axis=1)
    present = np.asarray(inside.any(axis=1))
    new = first_ranks(shortlist_scores, inside | ~present[:, None])
    return np.where(present, new, np.maximum(tower_ranks, size + 1.0))


def shortlist(scores: Float[np.ndarray, "q k"], size: int) -> Shaped[np.ndarray, "q s"]:
    """Indices, int64 [q, s], of the best candidates of each query, best first, s = min(size, k)."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :size]


def summary(values: Float[np.ndarray, " q"], prefix: str) -> dict[str, float]:
    """R@1, R@5, R@10 (fractions) and median rank of ranks, named `{prefix}_R1` and so on."""
    recalls = {f"{prefix}_R{at}": float((values <= at).mean()) for at in RECALL_AT}
    return {**recalls, f"{prefix}_median_rank": float(np.median(values))}


def chance(num_candidates: int, num_right: Int[np.ndarray, " q"], prefix: str) -> dict[str, float]:
    """What `summary` gives where every order of the candidates is equally likely.

    `num_right` is the number of right candidates of each query, of n in all. With r of them the
    first is behind place k with probability C(n - r, k) / C(n, k) (hypergeometric), which gives the
    exact expectation of R@k. The median is that of the distribution of the ranks of all queries,
    (n + 1) / 2 where each has one right candidate.
    """
    numbers, queries = np.unique(num_right, return_counts=True)
    place = np.arange(num_candidates)
    wrong_left = np.maximum(num_candidates - numbers[:, None] - place[None], 0)
    behind = np.cumprod(wrong_left / (num_candidates - place)[None], axis=1)  # of place k + 1
    within = 1.0 - queries @ behind / queries.sum()
    recalls = {f"{prefix}_R{at}": float(within[min(at, num_candidates) - 1]) for at in RECALL_AT}
    # half of the probability may lie exactly at the end of a place: the middle of the two then
    half = np.stack([within >= 0.5 - 1e-12, within > 0.5 + 1e-12])
    median = 1.0 + float(half.argmax(axis=1).mean())
    return {**recalls, f"{prefix}_median_rank": median}


def of_ties(num_equal: Int[np.ndarray, " q"], prefix: str) -> dict[str, float]:
    """Expected figures of a ranker that puts the right candidate and others, `num_equal` in all,
    first, and tells no more between them: any of those k may stand at any of the first k places.
    """
    recalls = {f"{prefix}_R{at}": float(np.minimum(at / num_equal, 1.0).mean()) for at in RECALL_AT}
    return {**recalls, f"{prefix}_median_rank": float(np.median((num_equal + 1) / 2))}
