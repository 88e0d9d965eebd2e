"""Update rules for tests that are about something else."""

import optax

from videobert_jax.training.update_rule import UpdateRule


def plain_sgd(rate: float) -> UpdateRule:
    """Gradient descent at a rate, of everything, as it comes."""
    schedule = optax.constant_schedule(rate)
    return UpdateRule(
        optax.sgd(schedule),
        schedule,
        frozenset(),
        ema_decay=0.0,
        shard_over_data=False,
        spike_factor=0.0,
    )
