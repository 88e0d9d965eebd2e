"""Parts of a training step that could be made otherwise, on the device there is, seconds a pass.

    python -m benchmarks.step_parts [--json FILE]

Dropout of ours against `flax.linen.Dropout`, which draws threefry bits a place: `ratio`, of a
residual branch and its gradient. And self-attention with queries, keys and values projected apart,
as the network has it, against one product with the three kernels side by side (`qkv_ratio`).
"""

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from benchmarks import alternate
from videobert_jax.models.layers import Dropout
from videobert_jax.training import hardware

ROWS, LENGTH, HEADS, HEAD_DIM = 32, 64, 8, 64
RATE = 0.1
_PASSES = 8  # a run


def branch(dropout: nn.Module) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """x + dropout(x^2), whose gradient reads the mask again."""

    def apply(values: jax.Array, key: jax.Array) -> jax.Array:
        dropped: Any = dropout.apply({}, jnp.square(values), rngs={"dropout": key})
        return values + dropped

    return apply


def projected_apart(inputs: jax.Array, kernels: jax.Array) -> list[jax.Array]:
    """Queries, keys and values `[b, n, h, d]` by a product each."""
    return [jnp.einsum("bnc,chd->bnhd", inputs, kernel) for kernel in kernels]


def projected_at_once(inputs: jax.Array, kernels: jax.Array) -> list[jax.Array]:
    """The same by one product, the three kernels side by side."""
    projected = jnp.einsum("bnc,ckhd->bknhd", inputs, jnp.stack(list(kernels), axis=1))
    return [projected[:, number] for number in range(3)]


def attention(project: Callable[[jax.Array, jax.Array], list[jax.Array]]) -> Callable[..., Any]:
    """Self-attention without its output projection."""

    def apply(inputs: jax.Array, kernels: jax.Array) -> jax.Array:
        query, key, value = project(inputs, kernels)
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) * HEAD_DIM**-0.5
        return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), value)

    return apply


def _rate_of(function: Callable[..., jax.Array], *inputs: jax.Array) -> alternate.Measure:
    """Passes a second of a function and its gradients in all float inputs."""
    floats = [n for n, value in enumerate(inputs) if jnp.issubdtype(value.dtype, jnp.floating)]
    gradients = jax.jit(jax.grad(lambda *of: jnp.square(function(*of)).sum(), argnums=floats))

    def measure() -> float:
        begun = time.perf_counter()
        for _ in range(_PASSES):
            jax.block_until_ready(gradients(*inputs))
        return _PASSES / (time.perf_counter() - begun)

    return measure


def measure(rounds: int) -> dict[str, Any]:
    """The benchmark's record."""
    keys = jax.random.split(jax.random.key(0), 3)
    width = HEADS * HEAD_DIM
    values = jax.random.normal(keys[0], (ROWS, LENGTH, width))
    kernels = jax.random.normal(keys[1], (3, width, HEADS, HEAD_DIM)) * width**-0.5
    dropout = alternate.run(
        _rate_of(branch(Dropout(RATE)), values, keys[2]),
        {"flax": _rate_of(branch(nn.Dropout(RATE, deterministic=False)), values, keys[2])},
        rounds=rounds,
    )
    qkv = alternate.run(
        _rate_of(attention(projected_apart), values, kernels),
        {"at once": _rate_of(attention(projected_at_once), values, kernels)},
        rounds=rounds,
    )
    figures = {
        "dropout_seconds": {"ours": 1 / dropout.ours_median, "flax": 1 / dropout.peer_median},
        "qkv_seconds": {"apart": 1 / qkv.ours_median, "at once": 1 / qkv.peer_median},
        "qkv_ratio": qkv.ratio,
        "shape": [ROWS, LENGTH, HEADS, HEAD_DIM],
    }
    return alternate.record("step_parts", dropout, "passes/s", ["flax"], figures)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", help="file to write the record to")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args(arguments)
    print(hardware.start(""))
    alternate.write(measure(given.rounds), given.json)


if __name__ == "__main__":
    main()
