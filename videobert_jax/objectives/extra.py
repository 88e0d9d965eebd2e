"""Objectives of other packages: `objectives.extra` names their modules by dotted path."""

from typing import Any

import jax
from jaxtyping import Array, Float, Key

from videobert_jax import extensions, schema
from videobert_jax.models.videobert import VideoBert
from videobert_jax.objectives import passes
from videobert_jax.objectives.config import EXTRA_NAMES, EXTRA_SETTING, ObjectivesConfig


def weight(name: str, block: schema.Batch) -> Float[Array, ""]:
    """What the sum of the objective at this dotted path is divided by, of the block alone."""
    return extensions.load(name, EXTRA_NAMES, EXTRA_SETTING).weight(block)


def totals(
    model: VideoBert,
    variables: Any,
    block: schema.Batch,
    encoded: passes.Encoded,
    key: Key[Array, ""],
    config: ObjectivesConfig,
) -> dict[str, Float[Array, ""]]:
    """Sum over the block of every objective with a weight, each with a key of its own."""
    found = {}
    key = jax.random.fold_in(key, passes.EXTRA)
    for number, (name, factor) in enumerate(config.extra_weights().items()):
        if factor > 0:
            module = extensions.load(name, EXTRA_NAMES, EXTRA_SETTING)
            own = jax.random.fold_in(key, number)
            found[name] = module.total(model, variables, block, encoded, own)
    return found
