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
        memory: KeyValue,
        of_memory: Bool[Array, "b 1 m"],
    ) -> tuple[Float[Array, "b k d"], KeyValue]:
        """What `__call__` gives at `place`, for k beginnings of a caption side by side.

        past: keys and values `[b k, u, n, h]` of the places before; given back with this one's.
        """
        rows, beams, dim = inputs.shape

        def read_earlier(values: Array) -> Array:
            nonlocal past
            alone = values.reshape(rows * beams, 1, dim)
            new = self.attention.project(alone)
            past = KeyValue(
                *(
                    jax.lax.dynamic_update_slice_in_dim(old, piece, place, axis=1)
                    for old, piece in zip(past, new, strict=True)
                )
            )
            earlier = jnp.arange(past.key.shape[1])[None, None] <= place
            earlier = jnp.broadcast_to(earlier, (rows * beams, *earlier.shape[1:]))
            return self.attention.attend(alone, past, earlier).reshape(rows, beams, dim)

        values = self.attention_residual(inputs, read_earlier)
        allowed = jnp.broadcast_to(of_memory, (rows, beams, of_memory.shape[2]))
        values = self.cross_attention_residual(
            values, lambda x: self.cross_attention.attend(x, memory, allowed)
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
