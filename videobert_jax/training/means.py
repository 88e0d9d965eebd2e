"""Means of the objectives out of their sums and weights over a batch."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from videobert_jax.objectives.config import ObjectivesConfig

Totals = dict[str, Float[Array, ""]]


@dataclasses.dataclass(frozen=True)
class Means:
    """Of the active objectives of a batch, in which they have these `weights`."""

    config: ObjectivesConfig
    weights: Totals

    def mean(self, name: str, total: Float[Array, ""]) -> Float[Array, ""]:
        """Mean of an objective, 0 where nothing of it is in the batch."""
        weight = self.weights[name]
        return total / jnp.where(weight > 0, weight, 1.0)

    def weighted(self, totals: Totals) -> Float[Array, ""]:
        """Sum of the objectives' means, each times its weight in the config."""
        factors = self.config.weights()
        return jnp.asarray(
            sum(factors[name] * self.mean(name, total) for name, total in totals.items()),
            jnp.float32,
        )

    def metrics(self, totals: Totals) -> Totals:
        """The loss, and the mean of every objective, NaN where its weight is 0."""
        means = {
            name: jnp.where(self.weights[name] > 0, self.mean(name, total), jnp.nan)
            for name, total in totals.items()
        }
        return {"loss": self.weighted(totals), **means}
