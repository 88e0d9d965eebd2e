"""The variables with which a network begins, and their shapes without computing any."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from videobert_jax import schema
from videobert_jax.models.config import ModelConfig
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
    return model.init(key, jax.tree.map(jnp.asarray, schema.zero_block(shape, 1)))


@functools.lru_cache(maxsize=8)  # tracing a network takes a second; nobody changes what this gives
def boxed_structs(config: ModelConfig) -> Any:
    """`ShapeDtypeStruct`s of the variables, boxed with their logical axes."""
    model = VideoBert(config)
    return jax.eval_shape(lambda key: begin(model, key), jax.random.key(0))


def structs(config: ModelConfig) -> Any:
    """`ShapeDtypeStruct`s of the variables."""
    return nn.unbox(boxed_structs(config))
