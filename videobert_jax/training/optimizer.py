"""AdamW with warm-up and cosine, its decay mask going by logical axis names."""

from typing import Any

import jax
import optax

from videobert_jax.models.videobert import VideoBert
from videobert_jax.training import state
from videobert_jax.training.config import OptimizerConfig

# A leaf decays iff it is a matrix, and the axes say so: biases and norms have none of these
# names. The number of dimensions does not say it, for scanned layers stack biases into matrices.
DECAYED_AXES = ("embed", "joint")


def learning_rate(config: OptimizerConfig, num_steps: int) -> optax.Schedule:
    """Linear warm-up from 0, then a cosine to `end_learning_rate_fraction` at `num_steps`.

    Raises ValueError where the warm-up is not shorter than the run.
    """
    if config.warmup_steps >= num_steps:
        raise ValueError(
            f"optimizer.warmup_steps={config.warmup_steps} is not less than "
            f"training.num_steps={num_steps}; shorten the warm-up."
        )
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
    return jax.tree.map(
        decays, state.parameter_axes(model), is_leaf=lambda node: isinstance(node, tuple)
    )


def create_optimizer(
    config: OptimizerConfig, num_steps: int, model: VideoBert
) -> optax.GradientTransformation:
    """Clipping by the global norm, then AdamW (Loshchilov & Hutter 2019)."""
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(
            learning_rate(config, num_steps),
            b1=config.b1,
            b2=config.b2,
            eps=config.eps,
            weight_decay=config.weight_decay,
            mask=decay_mask(model),
        ),
    )
