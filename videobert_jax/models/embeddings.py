"""Inputs of the two towers: pieces and clip features, with positions."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from videobert_jax.models.config import ModelConfig
from videobert_jax.models.layers import Dropout, LayerNorm, Linear, parameter
from videobert_jax.sharding.partitioning import constrain, gathered, splits_parameters

PIECE_AXES = ("vocabulary", "embed")
PLACE_AXES = ("position", "embed")

EMBEDDING_DEVIATION = 0.02  # BERT's (Devlin et al. 2019, reference implementation)


def _table(
    module: nn.Module, name: str, axes: tuple[str, str], shape: tuple[int, int]
) -> jax.Array:
    init = nn.initializers.truncated_normal(EMBEDDING_DEVIATION)
    return parameter(module, name, init, axes, shape)


class TextEmbedding(nn.Module):
    """Pieces plus positions, normed; `table` is tied to the masked language head."""

    config: ModelConfig

    def setup(self) -> None:
        text, dim = self.config.text, self.config.embed_dim
        self.table = _table(self, "pieces", PIECE_AXES, (text.vocabulary_size, dim))
        self.positions = _table(self, "positions", PLACE_AXES, (text.max_length, dim))
        self.norm = LayerNorm(self.config)
        self.dropout = Dropout(self.config.dropout_rate)

    def __call__(
        self, ids: Int[Array, "b t"], positions: Int[Array, "b t"]
    ) -> Float[Array, "b t d"]:
        # Looked up whole along "embed": a lookup in a table that fsdp splits along it would be
        # computed split likewise, and then moved to the blocks' layout as a whole.
        # What is moved is moved in the compute dtype, as kernels are: the head that is tied to the
        # table shares it.
        moved = self.config.compute_dtype if splits_parameters() else jnp.float32
        table = gathered(self.table, PIECE_AXES, moved).astype(jnp.float32)
        places = gathered(self.positions, PLACE_AXES, jnp.float32)
        embedded = table[ids] + places[positions]
        embedded = constrain(embedded, "act_row", "act_length", "act_embed")
        return self.dropout(self.norm(embedded))


class VideoEmbedding(nn.Module):
    """Clip features, normalised as the checkpoint's constants say, projected, plus positions.

    A masked clip is replaced by a learnt vector after the projection, so that the model tells
    "masked" from every feature.
    """

    config: ModelConfig

    def setup(self) -> None:
        video, dim = self.config.video, self.config.embed_dim
        dtype = jnp.dtype(self.config.compute_dtype)
        self.input_dropout = Dropout(video.input_dropout_rate)
        self.mean = self._constant("mean", 0.0)
        self.scale = self._constant("scale", 1.0)
        self.project = Linear((dim,), ("feature", "embed"), dtype, ("bias",))
        init = nn.initializers.truncated_normal(EMBEDDING_DEVIATION)
        self.mask = parameter(self, "mask", init, ("bias",), (dim,))
        self.positions = _table(self, "positions", PLACE_AXES, (video.max_length, dim))
        self.norm = LayerNorm(self.config)
        self.dropout = Dropout(self.config.dropout_rate)

    def _constant(self, name: str, value: float) -> nn.Variable:
        size = (self.config.video.feature_dim,)
        return self.variable(
            "constants",
            name,
            lambda: nn.LogicallyPartitioned(jnp.full(size, value, jnp.float32), ("feature",)),
        )

    def normalize(self, features: Float[Array, "b v c"]) -> Float[Array, "b v c"]:
        """Features in float32, normalised by `input_normalization`."""
        values = features.astype(jnp.float32)
        kind = self.config.video.input_normalization
        if kind == "standardize":
            mean, scale = self.mean.value, self.scale.value
            return (values - mean[None, None]) / scale[None, None]
        if kind == "l2":
            norm = jnp.sqrt(jnp.square(values).sum(-1, keepdims=True))
            return values / jnp.maximum(norm, 1e-6)
        return values

    def mix(
        self, features: Float[Array, "b v c"], real: Bool[Array, "b v"]
    ) -> Float[Array, "b v c"]:
        """While training, every row's clips with a share of the row's before.

        The share is uniform in [0, input_mixing_rate], one a row. Mixup (Zhang et al. 2018) of
        the inputs alone: what is to be told of a row stays its own, so that few videos are told
        by what they show rather than by what sets them apart. Rows come shuffled, so that the
        one before is any.
        """
        rate = self.config.video.input_mixing_rate
        if rate == 0.0 or not self.has_rng("dropout"):
            return features
        share = rate * jax.random.uniform(self.make_rng("dropout"), (features.shape[0], 1, 1))
        both = (real & jnp.roll(real, 1, axis=0))[..., None]
        others = jnp.roll(features, 1, axis=0)
        return jnp.where(both, features + share * (others - features), features)

    def __call__(
        self,
        features: Float[Array, "b v c"],
        segment_ids: Int[Array, "b v"],
        positions: Int[Array, "b v"],
        masked: Bool[Array, "b v"],
    ) -> Float[Array, "b v d"]:
        mixed = self.mix(self.normalize(features), segment_ids > 0)
        embedded = self.project(self.input_dropout(mixed)).astype(jnp.float32)
        embedded = jnp.where(masked[..., None], self.mask[None, None], embedded)
        embedded = embedded + gathered(self.positions, PLACE_AXES, jnp.float32)[positions]
        embedded = constrain(embedded, "act_row", "act_length", "act_embed")
        return self.dropout(self.norm(embedded))
