"""Multi-head attention that stays inside an example and gives 0 where no key is allowed.

It has four forms (`model.attention`): dense, which holds the scores of all pairs of a row and is
alone in giving probabilities; by a kernel over segments, on TPU or cuDNN's; by the lengths of rows
of one example.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from videobert_jax.models import fused_attention
from videobert_jax.models.config import ModelConfig
from videobert_jax.models.fused_attention import allowed_pairs
from videobert_jax.models.layers import Dropout, Linear
from videobert_jax.sharding.partitioning import constrain

_FUSED = {
    "kernel": fused_attention.by_segments,
    "cudnn": fused_attention.by_cudnn,
    "lengths": fused_attention.by_lengths,
}


class Segments(NamedTuple):
    """Segment ids; a query sees the keys of its own segment, and padding sees none."""

    query: Int[Array, "b q"]
    key: Int[Array, "b k"]


Allowed = Bool[Array, "b q k"] | Segments


def allowed_in(
    config: ModelConfig, query_segments: Int[Array, "b q"], key_segments: Int[Array, "b k"]
) -> Allowed:
    """Which keys a query sees, as the form of attention takes it; no form but the dense one takes a
    side without length."""
    if config.attention in _FUSED and query_segments.shape[1] and key_segments.shape[1]:
        return Segments(query_segments, key_segments)
    return allowed_pairs(query_segments, key_segments)


def turned(allowed: Allowed) -> Bool[Array, "b k q"] | Segments:
    """Which queries a key is seen by."""
    if isinstance(allowed, Segments):
        return Segments(allowed.key, allowed.query)
    return jnp.swapaxes(allowed, 1, 2)


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


class KeyValue(NamedTuple):
    """Keys and values of n heads of h dimensions."""

    key: Any  # [b, k, n, h]
    value: Any  # [b, k, n, h]


class Attention(nn.Module):
    """Multi-head attention of `queries` over `keys`; exactly 0 for a query without allowed key."""

    config: ModelConfig

    def setup(self) -> None:
        config, dtype = self.config, jnp.dtype(self.config.compute_dtype)
        self.query, self.key, self.value = (
            Linear(
                (config.num_heads, config.head_dim),
                ("embed", "heads", "head_dim"),
                dtype,
                ("heads", "head_dim"),
            )
            for _ in range(3)
        )
        self.output = Linear((config.embed_dim,), ("heads", "head_dim", "embed"), dtype, ("bias",))
        self.dropout = Dropout(config.attention_dropout_rate)

    def __call__(
        self,
        queries: Float[Array, "b q d"],
        keys: Float[Array, "b k d"],
        allowed: Allowed,
    ) -> Float[Array, "b q d"]:
        return self.attend(queries, self.project(keys), allowed)

    def project(self, keys: Float[Array, "b k d"]) -> KeyValue:
        """Keys and values of what will be attended to."""
        return KeyValue(_by_heads(self.key(keys)), _by_heads(self.value(keys)))

    def attend(
        self, queries: Float[Array, "b q d"], projected: KeyValue, allowed: Allowed
    ) -> Float[Array, "b q d"]:
        """What the queries read of keys and values that `project` gave."""
        query, (key, value) = _by_heads(self.query(queries)), projected
        if isinstance(allowed, Segments):
            context = _FUSED[self.config.attention](query, key, value, *allowed)
            has_key = allowed_pairs(*allowed).any(-1)
        else:
            probabilities = attention_probabilities(query, key, allowed)
            self.sow("intermediates", "probabilities", probabilities)
            probabilities = self.dropout(probabilities).astype(value.dtype)
            context = jnp.einsum("bnqk,bknh->bqnh", probabilities, value)
            has_key = allowed.any(-1)
        return jnp.where(has_key[:, :, None], self.output(context), 0)


def _by_heads(projected: Float[Array, "b n h d"]) -> Float[Array, "b n h d"]:
    return constrain(projected, "act_row", "act_length", "act_heads", "act_head_dim")
