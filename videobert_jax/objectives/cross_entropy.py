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


def with_positive(
    logits: Float[Array, "m n"], positive: Bool[Array, "m n"], allowed: Bool[Array, "m n"]
) -> Float[Array, " m"]:
    """-log of the positive's share among the allowed columns (InfoNCE, van den Oord et al. 2018).

    `positive` is true once a row, and always takes part, allowed or not.
    """
    masked = jnp.where(allowed | positive, logits, jnp.finfo(jnp.float32).min)
    return jax.nn.logsumexp(masked, axis=-1) - jnp.where(positive, logits, 0.0).sum(-1)
