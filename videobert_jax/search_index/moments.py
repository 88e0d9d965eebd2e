"""Moments that a search answers with: of windows that overlap much, the best one alone."""

from collections.abc import Iterable
from typing import NamedTuple

MERGED = 0.25  # share of a window beyond which it is the moment of a better one


class Hit(NamedTuple):
    """A moment: its file, start and end in seconds, score (dot product)."""

    file: str
    start: float | int
    end: float | int
    score: float | int


def distinct(hits: Iterable[Hit], top_k: int, merge: float | int = MERGED) -> list[Hit]:
    """The first `top_k` hits, given best first, of which no two of a file share more than `merge`
    of the shorter one's seconds (non-maximum suppression)."""
    told: list[Hit] = []
    by_file: dict[str, list[Hit]] = {}
    for hit in hits:
        others = by_file.setdefault(hit.file, [])
        if any(_shared(hit, other) > merge for other in others):
            continue
        others.append(hit)
        told.append(hit)
        if len(told) == top_k:
            break
    return told


def _shared(one: Hit, other: Hit) -> float:
    """Seconds that both have, as a share of the shorter one."""
    both = min(one.end, other.end) - max(one.start, other.start)
    return max(both, 0.0) / min(one.end - one.start, other.end - other.start)
