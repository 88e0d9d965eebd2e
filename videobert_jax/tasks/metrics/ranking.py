"""Ranks of the right candidates among all, and what is read off them."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.metrics.relevance import Right
from videobert_jax.tasks.metrics.similarity import Similarity
from videobert_jax.tasks.metrics.statistic import Statistic

RECALL_AT = (1, 5, 10, 50)
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
    pairs = zip(scores, right, strict=True)
    return np.array([_first_rank(row, np.flatnonzero(of)) for row, of in pairs], np.float64)


def _first_rank(scores: Shaped[np.ndarray, " k"], right: Int[np.ndarray, " r"]) -> float:
    """Of one query; right candidates by number."""
    # a row at a time stays in a core's cache, and counts of contiguous bools are vectorised
    of_right = scores[right]
    best = of_right.max()
    higher, equal = np.count_nonzero(scores > best), np.count_nonzero(scores == best)
    right_equal = np.count_nonzero(of_right == best)
    return 1.0 + higher + (equal - right_equal) / (right_equal + 1.0)


def of_similarity(
    similarity: Similarity, rights: Mapping[str, Right], *, size: int
) -> tuple[dict[str, np.ndarray], Shaped[np.ndarray, "q s"]]:
    """(first ranks float64 [q] by each of `rights`, the `shortlist`), of q queries.

    Scores are read some queries at a time. Raises as `first_ranks`.
    """
    found: dict[str, list[float]] = {name: [] for name in rights}
    short = []
    for first, scores in similarity.blocks():
        if not np.isfinite(scores).all():
            first_ranks(scores, np.ones(scores.shape, bool))  # which says how many
        for name, right in rights.items():
            rows = enumerate(scores, first)
            found[name] += [_first_rank(row, right.of(query)) for query, row in rows]
        short.append(shortlist(scores, size) if size else np.zeros((len(scores), 0), np.int64))
    return {name: np.array(of) for name, of in found.items()}, np.concatenate(short)


def reranked(
    tower_ranks: Float[np.ndarray, " q"],
    right: Bool[np.ndarray, "q s"],
    shortlist_scores: Float[np.ndarray, "q s"],
) -> np.ndarray:
    """First ranks, float64 [q], after the `s` first candidates were put in the order of new scores.

    right: which of those are. A query without a right candidate in its shortlist keeps its rank,
    never before place s + 1.
    """
    present = np.asarray(right.any(axis=1))
    new = first_ranks(shortlist_scores, right | ~present[:, None])
    return np.where(present, new, np.maximum(tower_ranks, right.shape[1] + 1.0))


def shortlist(scores: Shaped[np.ndarray, "q k"], size: int) -> Shaped[np.ndarray, "q s"]:
    """Indices, int64 [q, s], of the best candidates of each query, best first, s = min(size, k).

    Of equal ones the first.
    """
    size = min(size, scores.shape[1])
    return np.stack([_best(row, size) for row in scores])


def _best(scores: Shaped[np.ndarray, " k"], size: int) -> Shaped[np.ndarray, " s"]:
    last = np.partition(scores, -size)[-size]
    found = np.flatnonzero(scores >= last)  # more than `size` where some equal the last
    return found[np.argsort(-scores[found], kind="stable")][:size]


def summary(values: Float[np.ndarray, " q"], prefix: str) -> dict[str, float]:
    """R@1, R@5, R@10, R@50 (fractions), median and mean rank of ranks, named `{prefix}_R1` and so
    on."""
    recalls = {f"{prefix}_R{at}": float((values <= at).mean()) for at in RECALL_AT}
    return {
        **recalls,
        f"{prefix}_median_rank": float(np.median(values)),
        f"{prefix}_mean_rank": float(values.mean()),
    }


def statistics(prefix: str, *path: str) -> dict[str, Statistic]:
    """How the figures of `summary` are read off lines that have the rank at `path`."""
    recalls = {f"{prefix}_R{at}": Statistic.share(*path, at_most=at) for at in RECALL_AT}
    return {
        **recalls,
        f"{prefix}_median_rank": Statistic.median(*path),
        f"{prefix}_mean_rank": Statistic.mean(*path),
    }


def chance(num_candidates: int, num_right: Int[np.ndarray, " q"], prefix: str) -> dict[str, float]:
    """What `summary` gives where every order of the candidates is equally likely.

    `num_right` is the number of right candidates of each query, of n in all. With r of them the
    first is behind place k with probability C(n - r, k) / C(n, k) (hypergeometric), which gives the
    exact expectation of R@k; that of the rank is (n + 1) / (r + 1). The median is that of the
    distribution of the ranks of all queries, (n + 1) / 2 where each has one right candidate.
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
    mean = float(((num_candidates + 1) / (num_right + 1)).mean())
    return {**recalls, f"{prefix}_median_rank": median, f"{prefix}_mean_rank": mean}


def of_ties(num_equal: Int[np.ndarray, " q"], prefix: str) -> dict[str, float]:
    """Expected figures of a ranker that puts the right candidate and others, `num_equal` in all,
    first, and tells no more between them: any of those k may stand at any of the first k places.
    """
    recalls = {f"{prefix}_R{at}": float(np.minimum(at / num_equal, 1.0).mean()) for at in RECALL_AT}
    places = (num_equal + 1) / 2
    return {
        **recalls,
        f"{prefix}_median_rank": float(np.median(places)),
        f"{prefix}_mean_rank": float(places.mean()),
    }
