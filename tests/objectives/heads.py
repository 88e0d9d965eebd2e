"""What tests of objectives with a head over a list share."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from videobert_jax.models.videobert import VideoBert
from videobert_jax.objectives import passes, pretraining
from videobert_jax.objectives.config import ObjectivesConfig


def expected_loss(logits: np.ndarray, labels: np.ndarray, unknown: int) -> tuple[float, int]:
    """(sum of -log softmax(logits)[label] in float64, number of labels that are known)."""
    total, count = 0.0, 0
    for place in np.ndindex(labels.shape):
        if labels[place] != unknown:
            of = logits[place].astype(np.float64)
            total += np.log(np.exp(of).sum()) - of[labels[place]]
            count += 1
    return total, count


def gradients(
    model: VideoBert, variables: Any, block: Any, every: ObjectivesConfig, name: str, head: str
) -> tuple[Any, dict[str, float]]:
    """Gradients of the objective alone, its head's kernel drawn, and the largest of each module."""
    born = variables["params"][head]
    drawn = {**born, "kernel": jax.random.normal(jax.random.key(2), born["kernel"].shape)}
    weights = {
        other: dataclasses.replace(getattr(every, other), weight=float(other == name))
        for other in every.weights()
    }
    objectives = dataclasses.replace(every, **weights)

    def loss(params):
        given, key = {**variables, "params": params}, jax.random.key(3)
        encoded = passes.encode(model, given, block, key)
        return pretraining.local_totals(model, given, block, encoded, key, objectives)[name]

    found = jax.jit(jax.grad(loss))({**variables["params"], head: drawn})
    largest = {
        module: max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(of))
        for module, of in found.items()
    }
    return found, largest
