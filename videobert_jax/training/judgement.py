"""What is decided of an update, and said of it: the same for every kind of step."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from videobert_jax.models.videobert import VideoBert
from videobert_jax.training import guard, model_flops
from videobert_jax.training.means import Means, Totals
from videobert_jax.training.state import TrainState
from videobert_jax.training.update_rule import UpdateRule


def of_update(
    means: Means,
    totals: Totals,
    counts: model_flops.Counts,
    gradient_norm: Float[Array, ""],
    update_norm: Float[Array, ""],
    rate: Float[Array, ""],
    window: Any,
    *,
    rule: UpdateRule,
    model: VideoBert,
) -> tuple[Bool[Array, ""], Any, Totals]:
    """(whether it may change the parameters, the guard's window behind it, the step's metrics).

    totals: sums of the objectives. counts: of the batch. rate: the learning rate.
    """
    figures = guard.figures_of(means.weighted(totals), gradient_norm, update_norm, rate)
    allowed = guard.allowed(window, figures, rule.spike_factor)
    metrics = {
        **means.metrics(totals),
        "gradient_norm": gradient_norm,
        "update_norm": update_norm,
        "learning_rate": rate,
        "update_skipped": 1.0 - allowed.astype(jnp.float32),
        **model_flops.work(counts, model.config, means.config, rule.frozen),
    }
    return allowed, guard.after(window, figures, allowed), metrics


def next_state(
    state: TrainState,
    allowed: Bool[Array, ""],
    window: Any,
    *,
    trainable: Any,
    updated: Any,
    opt_state: Any,
    average: Any,
) -> TrainState:
    """The state behind a step, whose number counts in any case, for the schedule too.

    trainable, updated: the parameters that learn, as they are and as the update has them.
    """
    chosen = functools.partial(guard.chosen, allowed)
    opt_state = _counted(chosen(opt_state, state.opt_state), opt_state)
    return TrainState(
        step=state.step + 1,
        params={**state.params, **chosen(updated, trainable)},
        constants=state.constants,
        opt_state=opt_state,
        ema=chosen(average, state.ema),
        window=window,
    )


def _counted(chosen: Any, updated: Any) -> Any:
    """The chosen state of the optimizer, its schedule one step on as the update has it: one that
    stood still would lag behind the step for good, and its last rates never come."""

    def is_count(node: Any) -> bool:
        return isinstance(node, optax.ScaleByScheduleState)

    return jax.tree.map(
        lambda old, new: new if is_count(new) else old, chosen, updated, is_leaf=is_count
    )
