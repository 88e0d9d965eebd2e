"""The decoder that writes captions: causal inside an example, over what the encoders made of it.

UniVL (Luo et al. 2020, arXiv:2002.06353), section 3: a Transformer decoder over the outputs of the
cross-modal encoder, its embeddings tied to the text tower's.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from videobert_jax import schema
from videobert_jax.models import encoder
from videobert_jax.models.attention import Attention, KeyValue, allowed_pairs
from videobert_jax.models.config import ModelConfig
from videobert_jax.models.embeddings import TextEmbedding
from videobert_jax.models.heads import PieceHead
from videobert_jax.models.layers import FeedForward, LayerNorm

BEGIN = schema.SPECIAL_PIECES.index("[CLS]")  # what a caption is written behind
END = schema.SPECIAL_PIECES.index("[SEP]")


class Reading(NamedTuple):
    """What the pieces of a row may read: earlier pieces, and the encoders' outputs `memory`."""

    earlier: Bool[Array, "b u u"]
    memory: Float[Array, "b m d"]
    of_memory: Bool[Array, "b u m"]


class DecoderLayer(nn.Module):
    """Self-attention, attention to the memory, feed-forward (Vaswani et al. 2017, section 3.1)."""

    config: ModelConfig

    def setup(self) -> None:
        config = self.config
        self.attention, self.cross_attention = Attention(config), Attention(config)
        self.feed_forward = FeedForward(config)
        self.attention_residual = encoder.Residual(config)
        self.cross_attention_residual = encoder.Residual(config)
        self.feed_forward_residual = encoder.Residual(config)

    def __call__(self, inputs: Float[Array, "b u d"], reading: Reading) -> Float[Array, "b u d"]:
        values = self.attention_residual(inputs, lambda x: self.attention(x, x, reading.earlier))
        values = self.cross_attention_residual(
            values, lambda x: self.cross_attention(x, reading.memory, reading.of_memory)
        )
        return self.feed_forward_residual(values, self.feed_forward)

    def project_memory(self, memory: Float[Array, "b m d"]) -> KeyValue:
        """Keys and values of the memory, which every step of writing reads."""
        return self.cross_attention.project(memory)

    def write(
        self,
        inputs: Float[Array, "b k d"],
        past: KeyValue,
        place: Int[Array, ""],
        of_past: Bool[Array, "b k p"],
        memory: KeyValue,
        of_memory: Bool[Array, "b k m"],
    ) -> tuple[Float[Array, "b k d"], KeyValue]:
        """What `__call__` gives at `place`, for k beginnings of a caption side by side.

        past: keys and values `[b, p, n, h]` of p = u k places, the k beginnings' beside each other
        at each of u places; given back with this one's. of_past: what a beginning reads of it.
        """
        beginnings = inputs.shape[1]

        def read_earlier(values: Array) -> Array:
            nonlocal past
            past = KeyValue(
                *(
                    jax.lax.dynamic_update_slice_in_dim(old, new, place * beginnings, axis=1)
                    for old, new in zip(past, self.attention.project(values), strict=True)
                )
            )
            return self.attention.attend(values, past, of_past)

        values = self.attention_residual(inputs, read_earlier)
        values = self.cross_attention_residual(
            values, lambda x: self.cross_attention.attend(x, memory, of_memory)
        )
        return self.feed_forward_residual(values, self.feed_forward), past


class Decoder(nn.Module):
    """A stack of decoder layers, with a head of its own that is tied to the embedding of pieces.

    That is the text tower's, or `embedding`, where the tower reads a frozen BERT's vectors: those
    are of whole texts, in which every piece sees the later ones.
    """

    config: ModelConfig

    def setup(self) -> None:
        config = self.config
        self.stack = encoder.Stack(DecoderLayer, config, config.decoder.num_layers)
        if config.norm == "pre":
            self.norm = LayerNorm(config)
        self.head = PieceHead(config)
        if config.text.input == "bert_vectors":
            self.embedding = TextEmbedding(config)

    def __call__(
        self,
        embedded: Float[Array, "b u d"],
        segment_ids: Int[Array, "b u"],
        memory: Float[Array, "b m d"],
        memory_segment_ids: Int[Array, "b m"],
    ) -> Float[Array, "b u d"]:
        """Outputs from which `piece_logits` tells the piece behind each of the embedded ones.

        The pieces of an example stand in their order in its row.
        """
        length = segment_ids.shape[1]
        causal = jnp.tril(jnp.ones((length, length), bool))[None]
        reading = Reading(
            allowed_pairs(segment_ids, segment_ids) & causal,
            memory,
            allowed_pairs(segment_ids, memory_segment_ids),
        )
        return self.stack(embedded, reading)

    def piece_logits(
        self, outputs: Float[Array, "b u d"], table: Float[Array, "w d"]
    ) -> Float[Array, "b u w"]:
        """Logits over pieces, float32, of the last layer's outputs."""
        normed = self.norm(outputs) if self.config.norm == "pre" else outputs
        return self.head(normed, table)
