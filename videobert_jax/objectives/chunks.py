"""Losses of a block's rows, some rows at a time: what each part makes is let go of before the next,
and made once more in the backward pass."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def total(
    of_rows: Callable[[Any], Float[Array, ""]], rows: Any, count: int, *, axis: int = 0
) -> Float[Array, ""]:
    """Sum of `of_rows` over `count` equal parts of the rows, which stand along `axis` of every leaf
    of `rows`; with one part, `of_rows` of all of them."""
    if count == 1:
        return of_rows(rows)

    def parts(values: Array) -> Array:  # [..., r, ...] -> [count, ..., r / count, ...]
        *before, size = values.shape[: axis + 1]
        split = values.reshape(*before, count, size // count, *values.shape[axis + 1 :])
        return jnp.moveaxis(split, axis, 0)

    return jax.lax.map(jax.checkpoint(of_rows), jax.tree.map(parts, rows)).sum()
