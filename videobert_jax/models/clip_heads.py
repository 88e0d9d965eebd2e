"""What the fused video tells of a hidden clip, in three forms: `model.masked_video_head`.

nce: the clip itself among those of the block. visual_words: its word (VideoBERT, Sun et al. 2019,
section 3.2). regression: its features. Targets come from the *uncorrupted input features*, so that
no clip's target depends on what the towers make of its neighbours.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from videobert_jax.models.config import ModelConfig
from videobert_jax.models.heads import NOT_THERE, unit_norm
from videobert_jax.models.layers import LayerNorm, Linear, activation, parameter
from videobert_jax.sharding.partitioning import constrain


class _ClipHead(nn.Module):
    """The layer that all forms have, as the masked language head's."""

    config: ModelConfig

    def setup(self) -> None:
        config, dtype = self.config, jnp.dtype(self.config.compute_dtype)
        self.hidden = Linear((config.embed_dim,), ("embed", "embed_out"), dtype, ("bias",))
        self.norm = LayerNorm(config)

    def transform(self, values: Float[Array, "b m d"]) -> Float[Array, "b m d"]:
        return self.norm(activation(self.config.activation)(self.hidden(values)))


class NceHead(_ClipHead):
    """Predictions and targets, both on the unit sphere of the joint space."""

    def setup(self) -> None:
        super().setup()
        config, dtype = self.config, jnp.dtype(self.config.compute_dtype)
        self.predict = Linear((config.joint_dim,), ("embed", "joint"), dtype, ("joint",))
        self.target = Linear((config.joint_dim,), ("feature", "joint"), dtype)

    def predictions(self, values: Float[Array, "b m d"]) -> Float[Array, "b m j"]:
        return unit_norm(self.predict(self.transform(values)).astype(jnp.float32))

    def targets(self, features: Float[Array, "b v c"]) -> Float[Array, "b v j"]:
        """Of clip features normalised as the model's input is."""
        return unit_norm(self.target(features).astype(jnp.float32))


class VisualWordHead(_ClipHead):
    """Cosines with an embedding of every visual word (rows behind them are padding), and the word
    that a clip is.

    The embeddings are learnt; a run starts them from the words' centroids, as VideoBERT does
    (section 4.4), or random (`init.visual_word_embeddings`). The tree of centroids is part of the
    constants, so that a run needs no second file and no pass over the dataset, whatever its size.
    """

    def setup(self) -> None:
        super().setup()
        config, dtype = self.config, jnp.dtype(self.config.compute_dtype)
        dim, tree = config.video.feature_dim, config.visual_words
        self.predict = Linear((dim,), ("embed", "feature"), dtype, ("feature",))
        self.num_words = tree.branching**tree.depth
        init = nn.initializers.normal(1.0)
        self.words = parameter(self, "words", init, ("vocabulary", "feature"), (tree.padded, dim))
        self.centre = self._constant("centre", (dim,))
        self.levels = [
            self._constant(f"level_{level}", (tree.branching**level, dim))
            for level in range(1, tree.depth + 1)
        ]

    def _constant(self, name: str, shape: tuple[int, ...]) -> nn.Variable:
        axes = (None,) * (len(shape) - 1) + ("feature",)
        return self.variable(
            "constants", name, lambda: nn.LogicallyPartitioned(jnp.zeros(shape, jnp.float32), axes)
        )

    def predictions(self, values: Float[Array, "b m d"]) -> Float[Array, "b m w"]:
        dtype = jnp.dtype(self.config.compute_dtype)
        predicted = unit_norm(self.predict(self.transform(values)).astype(jnp.float32))
        words = unit_norm(self.words)
        cosines = jnp.einsum(
            "bmc,wc->bmw",
            predicted.astype(dtype),
            words.astype(dtype),
            preferred_element_type=jnp.float32,
        )
        is_word = jnp.arange(len(self.words)) < self.num_words
        cosines = jnp.where(is_word[None, None], cosines, NOT_THERE)
        return constrain(cosines, "act_row", "act_length", "act_vocabulary")

    def targets(self, features: Float[Array, "b m c"]) -> Int[Array, "b m"]:
        """Word of clip features as they are on disk: at each node to the nearest child that there
        is (a child of NaN is none)."""
        branching = self.config.visual_words.branching
        inside = features.astype(jnp.float32) - self.centre.value[None, None]
        nodes = jnp.zeros(features.shape[:2], jnp.int32)
        for centroids in self.levels:
            children = centroids.value.reshape(-1, branching, features.shape[-1])[nodes]
            products = jnp.einsum(
                "bmc,bmkc->bmk", inside, children, precision=jax.lax.Precision.HIGHEST
            )
            lengths = jnp.square(children).sum(-1)
            distances = jnp.where(jnp.isnan(lengths), jnp.inf, lengths - 2 * products)
            nodes = nodes * branching + jnp.argmin(distances, axis=-1).astype(jnp.int32)
        return nodes


class RegressionHead(_ClipHead):
    """Predicted features (HERO, Li et al. 2020, section 3.2, MFFR), for comparison."""

    def setup(self) -> None:
        super().setup()
        dtype = jnp.dtype(self.config.compute_dtype)
        dim = self.config.video.feature_dim
        self.predict = Linear((dim,), ("embed", "feature"), dtype, ("feature",))

    def predictions(self, values: Float[Array, "b m d"]) -> Float[Array, "b m c"]:
        return self.predict(self.transform(values)).astype(jnp.float32)

    def targets(self, features: Float[Array, "b m c"]) -> Float[Array, "b m c"]:
        """Clip features normalised as the model's input is."""
        return features


HEADS = {"nce": NceHead, "visual_words": VisualWordHead, "regression": RegressionHead}
