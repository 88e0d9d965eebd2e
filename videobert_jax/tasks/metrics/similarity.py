"""Similarities of queries and candidates, some queries at a time: never whole in memory."""

import dataclasses
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Shaped

from videobert_jax.tasks.errors import EvaluationError

DUAL_SOFTMAX_SCALE = 100.0  # of cosines, the bound of CLIP's logit scale
_ELEMENTS = 1 << 25  # of a block, 128 MiB in float32: large enough for products at full speed
_ROUNDING = 1e-3  # by which a cosine may be beyond 1


@runtime_checkable
class Similarity(Protocol):
    """Scores [q, k] of queries (rows) and candidates; `T` has them the other way round."""

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (number of the first query, scores [b, k] of the next b), in order."""
        ...

    @property
    def T(self) -> "Similarity": ...


@dataclasses.dataclass(frozen=True, eq=False)
class Products:
    """Inner products of vectors: cosines, where they have norm 1."""

    queries: Float[np.ndarray, "q d"]
    candidates: Float[np.ndarray, "k d"]

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        for rows in _blocks(len(self.queries), len(self.candidates)):
            yield rows.start, self.queries[rows] @ self.candidates.T

    @property
    def T(self) -> "Products":
        return Products(self.candidates, self.queries)


def mean(first: Products, second: Products) -> Products:
    """Mean of two cosines of the same queries and candidates, itself a cosine."""
    sides = zip((first.queries, first.candidates), (second.queries, second.candidates), strict=True)
    return Products(*(np.concatenate(of, axis=1) * np.float32(0.5**0.5) for of in sides))


@dataclasses.dataclass(frozen=True, eq=False)
class Matrix:
    """Scores that are given, perhaps on disk."""

    scores: Shaped[np.ndarray, "q k"]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.scores.shape

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        dtype = np.result_type(self.scores.dtype, np.float32)
        for rows in _blocks(*self.scores.shape):
            yield rows.start, np.ascontiguousarray(self.scores[rows], dtype)

    @property
    def T(self) -> "Matrix":
        return Matrix(self.scores.T)


@dataclasses.dataclass(frozen=True, eq=False)
class DualSoftmax:
    """Cosine times the candidate's softmax over all queries, float64 (Cheng et al. 2021, section
    3.3, dual softmax at inference): what goes with everything is worth less.

    It looks at all queries at once, which no search does, so figures by it are others than those
    without. Raises EvaluationError on scores beyond those of cosines, where the scale means
    something else.
    """

    cosines: Similarity

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        normalizers = np.concatenate([_log_sums(scores) for _, scores in self.cosines.T.blocks()])
        for first, scores in self.cosines.blocks():
            exact = scores.astype(np.float64)
            weights = DUAL_SOFTMAX_SCALE * exact
            weights -= normalizers[None]
            yield first, np.multiply(exact, np.exp(weights, out=weights), out=weights)

    @property
    def T(self) -> "DualSoftmax":
        return DualSoftmax(self.cosines.T)


def _log_sums(cosines: Float[np.ndarray, "b q"]) -> Float[np.ndarray, " b"]:
    """Log of the sum of exp(scale x cosine) of each row."""
    most = float(np.abs(cosines).max())
    if not most <= 1 + _ROUNDING:
        raise EvaluationError(
            f"dual softmax is of cosines, found a score of {most:g} in size; give cosines, or no "
            "normalization."
        )
    scaled = DUAL_SOFTMAX_SCALE * cosines.astype(np.float64)
    largest = scaled.max(axis=1, keepdims=True)
    scaled -= largest
    return largest[:, 0] + np.log(np.exp(scaled, out=scaled).sum(axis=1))


def _blocks(queries: int, candidates: int) -> Iterator[slice]:
    size = max(1, _ELEMENTS // candidates)
    return (slice(first, first + size) for first in range(0, queries, size))
