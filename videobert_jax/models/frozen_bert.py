"""A published BERT as the text tower's input: constants of the network, through which nothing
learns (`model.text.input = "bert_vectors"`)."""

from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from videobert_jax.models.attention import Segments
from videobert_jax.models.config import ModelConfig
from videobert_jax.models.embeddings import TextEmbedding
from videobert_jax.models.encoder import Encoder
from videobert_jax.models.layers import Dropout, LayerNorm, Linear


class Bert(nn.Module):
    """BERT (Devlin et al. 2019) without its heads; its parts are named as the text tower's are."""

    config: ModelConfig

    def setup(self) -> None:
        self.text_embedding = TextEmbedding(self.config)
        self.text_encoder = Encoder(self.config, self.config.text.num_layers)

    def __call__(
        self,
        ids: Int[Array, "b t"],
        positions: Int[Array, "b t"],
        allowed: Bool[Array, "b t t"] | Segments,
    ) -> Float[Array, "b t d"]:
        return self.text_encoder(self.text_embedding(ids, positions), allowed)


class BertEmbedding(nn.Module):
    """Last hidden states of a frozen BERT, projected and normed, without its dropout.

    `table`, of its piece embeddings, is what the masked language head tells pieces by. Its
    parameters are the constant `bert`, all 0 until a published BERT's are put there.
    """

    config: ModelConfig

    def setup(self) -> None:
        config, dtype = self.config, jnp.dtype(self.config.compute_dtype)
        self.bert = self.variable("constants", "bert", lambda: _zeros(config.bert))
        self.project = Linear((config.embed_dim,), ("feature", "embed"), dtype, ("bias",))
        self.norm = LayerNorm(config)
        self.dropout = Dropout(config.dropout_rate)

    @property
    def _params(self) -> Any:
        return jax.lax.stop_gradient(self.bert.value)

    @property
    def table(self) -> Float[Array, "w c"]:
        return self._params["text_embedding"]["pieces"]

    def vectors(
        self,
        ids: Int[Array, "b t"],
        positions: Int[Array, "b t"],
        allowed: Bool[Array, "b t t"] | Segments,
    ) -> Float[Array, "b t c"]:
        """The BERT's last hidden states."""
        bert = Bert(self.config.bert, parent=None)
        watched = ["intermediates"] if self.is_mutable_collection("intermediates") else []
        vectors, kept = bert.apply(
            {"params": self._params}, ids, positions, allowed, mutable=watched
        )
        if "intermediates" in kept:
            self.sow("intermediates", "bert", kept["intermediates"])
        return cast(jax.Array, vectors)

    def __call__(
        self,
        ids: Int[Array, "b t"],
        positions: Int[Array, "b t"],
        allowed: Bool[Array, "b t t"] | Segments,
    ) -> Float[Array, "b t d"]:
        return self.dropout(self.norm(self.project(self.vectors(ids, positions, allowed))))


def _zeros(config: ModelConfig) -> Any:
    """Parameters of a BERT, all 0, with their logical axes."""
    place = jnp.zeros((1, 1), jnp.int32)
    inputs = (place, place, jnp.ones((1, 1, 1), jnp.bool_))
    structs = jax.eval_shape(Bert(config, parent=None).init, jax.random.key(0), *inputs)
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), structs["params"])
