"""Multi-head attention that stays inside an example and gives 0 where no key is allowed.

It has three forms (`model.attention`): dense, which holds the scores of all pairs of a row and is
alone in giving probabilities; by a kernel over segments; by the lengths of rows of one example.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from videobert_jax import schema
from videobert_jax.models import fused_attention
from videobert_jax.models.config import ModelConfig
from videobert_jax.models.layers import Dropout, Linear
from videobert_jax.sharding.partitioning import constrain

_FUSED = {"kernel": fused_attention.by_segments, "lengths": fused_attention.by_lengths}


class Segments(NamedTuple):
    """Segment ids; a query sees the keys of its own segment, and padding sees none."""

    query: Int[Array, "b q"]
    key: Int[Array, "b k"]


Allowed = Bool[Array, "b q k"] | Segments


def allowed_in(
    config: ModelConfig, query_segments: Int[Array, "b q"], key_segments: Int[Array, "b k"]
) -> Allowed:
    """Which keys a query sees, as the form of attention takes it."""
    if config.attention in _FUSED:
        return Segments(query_segments, key_segments)
    return allowed_pairs(query_segments, key_segments)


def turned(allowed: Allowed) -> Bool[Array, "b k q"] | Segments:
    """Which queries a key is seen by."""
    if isinstance(allowed, Segments):
        return Segments(allowed.key, allowed.query)
    return jnp.swapaxes(allowed, 1, 2)


def allowed_pairs(
    query_segments: Int[Array, "b q"], key_segments: Int[Array, "b k"]
) -> Bool[Array, "b q k"]:
    """True where query and key belong to the same example and neither is padding."""
    query = query_segments[:, :, None]
    return (query == key_segments[:, None, :]) & (query != schema.NO_SEGMENT)


def attention_probabilities(
    query: Float[Array, "b q n h"], key: Float[Array, "b k n h"], allowed: Bool[Array, "b q k"]
) -> Float[Array, "b n q k"]:
    """softmax(Q K^T / sqrt(h)) over allowed keys in float32; all 0 where none is allowed.

    The scaled dot product of Vaswani et al. 2017, section 3.2.1. The second `where` matters: a
    softmax over nothing but masked keys is the mean over *all* keys, which under packing would
    let a text-only example read its neighbours' video.
    """
    scale = query.shape[-1] ** -0.5
    scores = jnp.einsum("bqnh,bknh->bnqk", query * scale, key, preferred_element_type=jnp.float32)
    mask = allowed[:, None]
    scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
    return jnp.where(mask, jax.nn.softmax(scores, axis=-1), 0.0)


class Attention(nn.Module):
    """Multi-head attention of `queries` over `keys`; exactly 0 for a query without allowed key."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self,
        queries: Float[Array, "b q d"],
        keys: Float[Array, "b k d"],
        allowed: Allowed,
    ) -> Float[Array, "b q d"]:
        config, dtype = self.config, jnp.dtype(self.config.compute_dtype)

        def heads(name: str, inputs: jax.Array) -> jax.Array:
            projected = Linear(
                (config.num_heads, config.head_dim),
                ("embed", "heads", "head_dim"),
                dtype,
                ("heads", "head_dim"),
                name=name,
            )(inputs)
            return constrain(projected, "act_row", "act_length", "act_heads", "act_head_dim")

        query, key, value = heads("query", queries), heads("key", keys), heads("value", keys)
        if isinstance(allowed, Segments):
            context = _FUSED[config.attention](query, key, value, *allowed)
            has_key = fused_attention.has_key(*allowed)
        else:
            probabilities = attention_probabilities(query, key, allowed)
            self.sow("intermediates", "probabilities", probabilities)
            probabilities = Dropout(config.attention_dropout_rate)(probabilities)
            context = jnp.einsum("bnqk,bknh->bqnh", probabilities.astype(dtype), value)
            has_key = allowed.any(-1)
        output = Linear(
            (config.embed_dim,), ("heads", "head_dim", "embed"), dtype, ("bias",), name="output"
        )(context)
        return jnp.where(has_key[:, :, None], output, 0)
