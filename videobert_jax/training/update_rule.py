"""How gradients change a training state: what the step, the state and the loop are told of it."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from videobert_jax.models import heads
from videobert_jax.training import guard


@dataclasses.dataclass(frozen=True)
class UpdateRule:
    """An optimizer, and what it is not asked to do.

    optimizer: of the parameters outside the `frozen` top-level modules, which stay as they are and
    have no state in it. schedule: its learning rate by the run's step. ema_decay: of the moving
    average of all parameters; 0: none is kept. shard_over_data: whether state and average are split
    over the mesh axis `data` too, and parameters updated there part by part (ZeRO-1). spike_factor:
    how many times its median a figure of an update may be (`guard`); 0: any finite number.
    """

    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    frozen: frozenset[str]
    ema_decay: float
    shard_over_data: bool
    spike_factor: float

    def trainable(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The part of the parameters that learns; gradients are taken of nothing else."""
        return outside(self.frozen, params)

    def begin(self, params: Mapping[str, Any]) -> tuple[Any, Any]:
        """(state of the optimizer, moving average or None) with which these parameters begin."""
        opt_state = self.optimizer.init(self.trainable(params))
        return opt_state, average_of(params) if self.ema_decay else None

    def update(
        self, gradients: Any, opt_state: Any, params: Any, gradient_norm: Float[Array, ""]
    ) -> tuple[Any, Any]:
        """(updates of what is trainable, state of the optimizer), of whole trees or of all leaves'
        parts. gradient_norm: of the whole gradients, by which they are clipped."""
        optimizer = optax.with_extra_args_support(self.optimizer)
        return optimizer.update(gradients, opt_state, params, gradient_norm=gradient_norm)

    def applied(self, updates: Any, params: Any) -> Any:
        """What is trainable, with its updates."""
        updated: Any = optax.apply_updates(params, updates)
        return heads.with_limited_scale(updated)

    def window(self) -> Any:
        """The guard's window with which a run or stage begins; None without spike_factor."""
        return guard.empty() if self.spike_factor else None

    def averaged(self, average: Any, params: Any) -> Any:
        """The exponential moving average one step on, float32; None where none is kept."""
        if average is None:
            return None
        share = 1.0 - self.ema_decay
        return jax.tree.map(lambda a, p: a + share * (p.astype(jnp.float32) - a), average, params)


def outside(frozen: Collection[str], tree: Mapping[str, Any]) -> dict[str, Any]:
    """A tree like the parameters without the top-level modules `frozen`."""
    return {name: module for name, module in tree.items() if name not in frozen}


def average_of(params: Any) -> Any:
    """The moving average of parameters that have not changed yet: copies, float32."""
    return jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float32, copy=True), params)
