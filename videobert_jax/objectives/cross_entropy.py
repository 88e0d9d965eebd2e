"""Cross-entropies that the objectives share, in float32."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def with_labels(logits: Float[Array, "*n w"], labels: Int[Array, "*n"]) -> Float[Array, "*n"]:
    """-log softmax(logits)[label].

    The label's logit is summed out under a comparison, which fuses and stays local where the
    last dimension is sharded; a gather does neither.
    """
    iota = jax.lax.broadcasted_iota(labels.dtype, logits.shape, logits.ndim - 1)
    chosen = jnp.where(iota == labels[..., None], logits, 0.0).sum(-1)
    return jax.nn.logsumexp(logits, axis=-1) - chosen


def total_of_known(
    logits: Float[Array, "*n w"], labels: Int[Array, "*n"], unknown: int
) -> Float[Array, ""]:
    """Sum of `with_labels` over the places whose label is not `unknown`."""
    known = labels != unknown
    return jnp.where(known, with_labels(logits, jnp.where(known, labels, 0)), 0.0).sum()


def with_smoothed_labels(
    logits: Float[Array, "*n w"], labels: Int[Array, "*n"], smoothing: float
) -> Float[Array, "*n"]:
    """Cross-entropy against 1 - smoothing on the label and smoothing spread over all w evenly."""
    uniform = jax.nn.logsumexp(logits, axis=-1) - logits.mean(-1)
    return (1.0 - smoothing) * with_labels(logits, labels) + smoothing * uniform


def with_positives(
    logits: Float[Array, "m n"], positive: Bool[Array, "m n"], allowed: Bool[Array, "m n"]
) -> Float[Array, " m"]:
    """-log of the positives' share among the allowed columns.

    With one positive a row InfoNCE (van den Oord et al. 2018), with several MIL-NCE (Miech et al.
    2020, section 3.2). `positive` is true once a row or more often, and always takes part, allowed
    or not.
    """
    lowest = jnp.finfo(jnp.float32).min
    candidates = jax.nn.logsumexp(jnp.where(allowed | positive, logits, lowest), axis=-1)
    return candidates - jax.nn.logsumexp(jnp.where(positive, logits, lowest), axis=-1)
