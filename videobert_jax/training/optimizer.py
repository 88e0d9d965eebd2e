"""AdamW with warm-up and cosine; its decay mask and rates of layers go by logical axis names."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from videobert_jax.models.config import ModelConfig, module_names
from videobert_jax.models.videobert import VideoBert
from videobert_jax.training import state
from videobert_jax.training.config import OptimizerConfig
from videobert_jax.training.update_rule import UpdateRule, outside

# A leaf decays iff it is a matrix with one of these axes, which biases and norms do not have: the
# number of dimensions does not say it, for scanned layers stack biases into matrices. Two matrices
# have neither and do not decay: centroids of visual words, which are what was clustered, and the
# linear bag of words over features, which dropout keeps small.
DECAYED_AXES = ("embed", "joint", "extra")


def learning_rate(config: OptimizerConfig, num_steps: int) -> optax.Schedule:
    """Linear warm-up from 0, then a cosine to `end_learning_rate_fraction` at `num_steps`."""
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=config.learning_rate,
        warmup_steps=config.warmup_steps,
        decay_steps=num_steps,
        end_value=config.learning_rate * config.end_learning_rate_fraction,
    )


def decays(axes: tuple[str, ...]) -> bool:
    """Whether a parameter with these logical axes is decayed."""
    return any(name in axes for name in DECAYED_AXES) and axes != ("joint",)


def decay_mask(model: VideoBert) -> Any:
    """Tree of booleans like the parameters."""
    return jax.tree.map(decays, state.parameter_axes(model), is_leaf=_is_axes)


def layer_rates(model: VideoBert, decay: float) -> Any:
    """Factors of the parameters' learning rates: numbers, or of a stack `[l, 1, ...]`, one a layer.

    `decay` to the power of what stands above, the heads, among them the decoder, counted as one:
    heads have 1, the last cross-modal layer `decay`, a tower's last layer one power more than the
    first cross-modal layer, a tower's embeddings its deepest. ELECTRA (Clark et al. 2020, section
    3.1 and appendix A) and BEiT (Bao et al. 2022, appendix) have one tower; here each counts its
    own layers.
    """
    config = model.config
    cross = config.cross.num_layers
    layers = {
        "text_encoder": config.text.num_layers,
        "video_encoder": config.video.num_layers,
        "cross_encoder": cross,
    }
    lowest = {  # powers; of an encoder its last norm's, which stands above its layers
        "text_embedding": 1 + cross + layers["text_encoder"],
        "video_embedding": 1 + cross + layers["video_encoder"],
        "text_encoder": cross,
        "video_encoder": cross,
    }

    def rates(path: Any, axes: tuple[str, ...]) -> np.ndarray:
        module = path[0].key
        power = lowest.get(module, 0)
        if axes[:1] != ("layers",) or module not in layers:
            return np.asarray(decay**power, np.float32)
        powers = power + np.arange(layers[module], 0, -1)
        return np.asarray(decay**powers, np.float32).reshape(-1, *[1] * (len(axes) - 1))

    return jax.tree_util.tree_map_with_path(rates, state.parameter_axes(model), is_leaf=_is_axes)


def clip(most: float) -> optax.GradientTransformation:
    """Gradients scaled down to the global norm `most` where they have more (Pascanu et al. 2013);
    the norm is given, since what is clipped may be a part of them."""

    def update(updates: Any, state: Any, params: Any = None, **given: Any) -> Any:
        gradient_norm = given["gradient_norm"]

        def scaled(leaf: jax.Array) -> jax.Array:
            return jnp.where(gradient_norm < most, leaf, leaf / gradient_norm * most)

        return jax.tree.map(scaled, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def create_rule(
    config: OptimizerConfig, num_steps: int, model: VideoBert, first_step: int = 0
) -> UpdateRule:
    """Clipping by the global norm, then AdamW (Loshchilov & Hutter 2019), of what is not frozen.

    num_steps: of the schedule, which begins at `first_step` of the run. Equal arguments give the
    same rule, by which a step that was compiled is known again.
    """
    return _create_rule(config, num_steps, model.config, first_step)


@functools.lru_cache(maxsize=8)
def _create_rule(
    config: OptimizerConfig, num_steps: int, network: ModelConfig, first_step: int
) -> UpdateRule:
    model = VideoBert(network)
    schedule = learning_rate(config, num_steps)
    frozen = frozenset(module_names(config.frozen, network.modules))
    transformations = [
        clip(config.clip_norm or math.inf),
        optax.adamw(
            schedule,
            b1=config.b1,
            b2=config.b2,
            eps=config.eps,
            weight_decay=config.weight_decay,
            mask=outside(frozen, decay_mask(model)),
        ),
    ]
    if config.layer_decay < 1.0:
        factors = outside(frozen, layer_rates(model, config.layer_decay))
        transformations.append(
            optax.stateless(lambda updates, _: jax.tree.map(jnp.multiply, updates, factors))
        )
    return UpdateRule(
        optimizer=optax.chain(*transformations),
        schedule=lambda step: schedule(step - first_step),
        frozen=frozen,
        ema_decay=config.ema_decay,
        shard_over_data=config.shard_over_data,
        spike_factor=config.spike_factor,
    )


def _is_axes(node: Any) -> bool:
    return isinstance(node, tuple)
