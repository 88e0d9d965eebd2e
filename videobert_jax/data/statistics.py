"""Input statistics: mean and standard deviation of clip features, a dimension."""

import dataclasses
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Float64, Int64

from videobert_jax.schema import InputStatistics

_CONSTANT = 1e-6  # below this deviation a dimension says nothing and is left at its size


@dataclasses.dataclass(frozen=True)
class Moments:
    """Count, sum and sum of squares of the finite values of each dimension; parts add up."""

    count: Int64[np.ndarray, " c"]
    total: Float64[np.ndarray, " c"]
    squares: Float64[np.ndarray, " c"]

    @classmethod
    def of(cls, features: Float[np.ndarray, "n c"]) -> "Moments":
        """Moments of clip features; NaN and infinite values are left out."""
        values = features.astype(np.float64)
        finite = np.isfinite(values)
        values = np.where(finite, values, 0.0)
        return cls(finite.sum(0), values.sum(0), np.square(values).sum(0))

    @classmethod
    def zero(cls, dim: int) -> "Moments":
        return cls(np.zeros(dim, np.int64), np.zeros(dim), np.zeros(dim))

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            self.count + other.count, self.total + other.total, self.squares + other.squares
        )

    def statistics(self) -> InputStatistics | None:
        """Mean and deviation, float32 [c]; deviation 1 where a dimension is constant.

        None where some dimension has no finite value at all.
        """
        if not self.count.size or self.count.min() == 0:
            return None
        mean = self.total / self.count
        deviation = np.sqrt(np.maximum(self.squares / self.count - np.square(mean), 0.0))
        scale = np.where(deviation > _CONSTANT, deviation, 1.0)
        return InputStatistics(mean.astype(np.float32), scale.astype(np.float32))


def combine(parts: Iterable[Moments], dim: int) -> Moments:
    """Moments of all parts together, added in their order."""
    return sum(parts, Moments.zero(dim))
