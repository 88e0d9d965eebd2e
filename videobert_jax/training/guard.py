"""Which updates may change the parameters: those that are finite, and of about the size of those
before. All of it is decided inside the step, from sums over all devices, so that they agree.

The window holds the figures of the last updates that were allowed. One that was not leaves it as it
is: a run of bad steps never becomes what is normal.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

FIGURES = ("loss", "gradient_norm", "relative_update")  # the last: over the learning rate
WINDOW = 64  # updates; the first so many of a stage need only be finite
_SMALLEST = 1e-30  # learning rate that an update is divided by


def empty() -> Float[Array, "figures window"]:
    """The window of a stage that begins: NaN."""
    return jnp.full((len(FIGURES), WINDOW), jnp.nan, jnp.float32)


def figures_of(
    loss: Float[Array, ""],
    gradient_norm: Float[Array, ""],
    update_norm: Float[Array, ""],
    rate: Float[Array, ""],
) -> Float[Array, " figures"]:
    """FIGURES of an update."""
    return jnp.stack([loss, gradient_norm, update_norm / jnp.maximum(rate, _SMALLEST)])


def allowed(
    window: Float[Array, "figures window"] | None,
    figures: Float[Array, " figures"],
    factor: float,
) -> Bool[Array, ""]:
    """Whether all figures are finite and none is more than `factor` times its median in a full
    window. None: they need only be finite."""
    finite = jnp.isfinite(figures).all()
    if window is None:
        return finite
    median = jnp.median(window, axis=1)  # NaN until it is full
    # Where most were 0, as of a loss that few batches have, there is no size to go by.
    spikes = (median > 0) & (figures > factor * median)
    return finite & ~spikes.any()


def chosen(taken: Bool[Array, ""], new: Any, old: Any) -> Any:
    """The new tree where an update is taken, else the old one."""
    return jax.tree.map(lambda n, o: jnp.where(taken, n, o), new, old)


def after(
    window: Float[Array, "figures window"] | None,
    figures: Float[Array, " figures"],
    taken: Bool[Array, ""],
) -> Float[Array, "figures window"] | None:
    """The window with the figures of an update in the place of its oldest, where it was taken."""
    if window is None:
        return None
    moved = jnp.concatenate([window[:, 1:], figures[:, None]], axis=1)
    return jnp.where(taken, moved, window)
