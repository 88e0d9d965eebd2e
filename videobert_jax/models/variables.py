"""The variables with which a network begins, and their shapes without computing any."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from videobert_jax import schema
from videobert_jax.models.config import EXTRA_HEADS, ModelConfig
from videobert_jax.models.videobert import VideoBert


def begin(model: VideoBert, key: jax.Array) -> Any:
    """Drawn parameters and constants, boxed with their logical axes."""
    config = model.config
    # Parameters depend on none of these sizes; short rows make tracing cheap.
    shape = schema.RowShape(
        examples=1,
        text_length=min(8, config.text.max_length),
        video_length=min(8, config.video.max_length),
        masked_text=1,
        masked_video=1,
        feature_dim=config.video.feature_dim,
        weighted_text=0,
        target_length=1,
        answered=0,
        labelled=0,
    )
    begun: Any = model.init(key, jax.tree.map(jnp.asarray, schema.zero_block(shape, 1)))
    if config.extra_heads:  # other packages need not know our names of axes
        params = begun["params"]
        begun = begun | {"params": params | {EXTRA_HEADS: _boxed(params[EXTRA_HEADS])}}
    return begun


def _boxed(tree: Any) -> Any:
    """The tree with logical axes, which split nothing, for leaves that have none."""

    def box(leaf: Any) -> Any:
        if isinstance(leaf, nn.meta.AxisMetadata):
            return leaf
        names = ("extra",) * leaf.ndim if leaf.ndim > 1 else ("bias",) * leaf.ndim
        return nn.LogicallyPartitioned(leaf, names)

    return jax.tree.map(box, tree, is_leaf=lambda leaf: isinstance(leaf, nn.meta.AxisMetadata))


@functools.lru_cache(maxsize=8)  # tracing a network takes a second; nobody changes what this gives
def boxed_structs(config: ModelConfig) -> Any:
    """`ShapeDtypeStruct`s of the variables, boxed with their logical axes."""
    model = VideoBert(config)
    return jax.eval_shape(lambda key: begin(model, key), jax.random.key(0))


def structs(config: ModelConfig) -> Any:
    """`ShapeDtypeStruct`s of the variables."""
    return nn.unbox(boxed_structs(config))
