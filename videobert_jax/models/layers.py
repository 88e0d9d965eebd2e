"""Layers whose parameters are born with logical axes: projection, norm, dropout, feed-forward."""

import math
from collections.abc import Callable
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Key, Shaped, UInt32

from videobert_jax.models.config import ModelConfig
from videobert_jax.sharding.partitioning import constrain, gathered

PROJECTED = "projected"  # products of activations and kernels, to policies of rematerialisation


def parameter(
    module: nn.Module,
    name: str,
    init: Callable[..., jax.Array],
    axes: tuple[str, ...],
    shape: tuple[int, ...],
) -> jax.Array:
    """A float32 parameter of the module, born with logical axes."""
    if module.has_variable("params", name):
        # Flax traces the init at every use, to compare shapes: zeros trace in a fraction of a draw.
        init = nn.initializers.zeros_init()
    boxed_init = nn.with_logical_partitioning(init, axes)
    return cast(jax.Array, module.param(name, boxed_init, shape, jnp.float32))


class Linear(nn.Module):
    """Projection of the last dimensions of an input to `features` dimensions.

    One layer of our own, because `nn.DenseGeneral` with three logical names shards the wrong
    dimension (flax#3676). `axes` names the dimensions of the kernel: those contracted, then
    `features`. The init is truncated normal of variance 1/fan_in, with the fan stated, so that a
    kernel of three dimensions deviates as its flat equal does.
    """

    features: tuple[int, ...]
    axes: tuple[str, ...]
    dtype: jnp.dtype
    bias_axes: tuple[str, ...] | None = None  # None: no bias

    @nn.compact
    def __call__(self, inputs: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        contracted = len(self.axes) - len(self.features)
        shape = (*inputs.shape[-contracted:], *self.features)
        flat_init = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")

        def init(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
            fan_in = math.prod(shape[:contracted])
            return flat_init(key, (fan_in, math.prod(shape[contracted:])), dtype).reshape(shape)

        kernel = parameter(self, "kernel", init, self.axes, shape)
        outer = inputs.shape[:-contracted]
        # A product of two flat dimensions: heads of 64 in a dimension of their own would each be
        # padded to the 128 lanes of a TPU, and turned about in memory. The kernel is flat before it
        # is gathered, so that its gradient is scattered flat: the first of the dimensions that
        # become one is the one that is split.
        flat = math.prod(shape[:contracted]), math.prod(self.features)
        flat_axes = (self.axes[0], self.axes[contracted])
        output = jax.lax.dot_general(
            inputs.astype(self.dtype).reshape(*outer, flat[0]),  # outer may be without length
            gathered(kernel.reshape(flat), flat_axes, self.dtype),
            (((len(outer),), (0,)), ((), ())),
        )
        output = checkpoint_name(output, PROJECTED)
        if self.bias_axes is not None:
            zeros = nn.initializers.zeros_init()
            bias = parameter(self, "bias", zeros, self.bias_axes, self.features)
            output = output + bias.astype(self.dtype).reshape((1,) * len(outer) + (-1,))
        return output.reshape(*outer, *self.features)


class LayerNorm(nn.Module):
    """Layer norm (Ba et al. 2016) with float32 statistics, given back in `compute_dtype`."""

    config: ModelConfig

    @nn.compact
    def __call__(self, inputs: Float[Array, "*x d"]) -> Float[Array, "*x d"]:
        size = inputs.shape[-1:]

        def vector(name: str, init: Callable) -> jax.Array:
            value = parameter(self, name, init, ("norm",), size)
            return value.reshape((1,) * (inputs.ndim - 1) + size)

        scale = vector("scale", nn.initializers.ones_init())
        bias = vector("bias", nn.initializers.zeros_init())
        values = inputs.astype(jnp.float32)
        mean = values.mean(-1, keepdims=True)
        variance = jnp.square(values - mean).mean(-1, keepdims=True)
        normed = (values - mean) * jax.lax.rsqrt(variance + self.config.norm_epsilon)
        return (normed * scale + bias).astype(jnp.dtype(self.config.compute_dtype))


def keep_mask(key: Key[Array, ""], rate: float, shape: tuple[int, ...]) -> Bool[Array, "..."]:
    """Booleans of `shape`, false at `rate` (in steps of 2^-32).

    A place's bits are a hash of its number under two words of the key: eight operations that XLA
    fuses into what reads the mask, where threefry, a draw a place, took a tenth of a step on CPU.
    Numbers follow from shapes alone, so no layout over devices changes a mask. The hash is
    lowbias32 (C. Wellons 2018, "Prospecting for Hash Functions"), the second word inside it, so
    that masks of two keys are no permutation of each other.
    """
    first, second = jax.random.bits(key, (2,), jnp.uint32)
    bits = _place_numbers(shape) ^ first
    bits = (bits ^ (bits >> 16)) * jnp.uint32(0x7FEB352D) ^ second
    bits = (bits ^ (bits >> 15)) * jnp.uint32(0x846CA68B)
    return (bits ^ (bits >> 16)) >= jnp.uint32(round(rate * 2**32))


def _place_numbers(shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    """Number of every place in row-major order, modulo 2^32."""
    numbers = jnp.zeros(shape, jnp.uint32)
    for axis in range(len(shape)):
        stride = jnp.uint32(math.prod(shape[axis + 1 :]) % 2**32)
        numbers += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * stride
    return numbers


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014), active where a "dropout" key is given to `apply`."""

    rate: float

    @nn.compact
    def __call__(self, inputs: Float[Array, "..."]) -> Float[Array, "..."]:
        if self.rate == 0.0 or not self.has_rng("dropout"):
            return inputs
        keep = keep_mask(self.make_rng("dropout"), self.rate, inputs.shape)
        return jnp.where(keep, inputs * (1.0 / (1.0 - self.rate)), 0.0).astype(inputs.dtype)


def activation(name: str) -> Callable[[jax.Array], jax.Array]:
    """Function of the name in `ModelConfig.activation`."""
    return {"gelu": gelu, "relu": jax.nn.relu}[name]


def gelu(inputs: Float[Array, "..."]) -> Float[Array, "..."]:
    """x times the normal distribution's share below x: the exact GELU, as in BERT.

    By erf, where `jax.nn.gelu` takes erfc, which on CPU costs three times as much.
    """
    return 0.5 * inputs * (1.0 + jax.lax.erf(inputs * 2**-0.5))


class FeedForward(nn.Module):
    """Position-wise feed-forward network (Vaswani et al. 2017, section 3.3)."""

    config: ModelConfig

    @nn.compact
    def __call__(self, inputs: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        dtype = jnp.dtype(self.config.compute_dtype)
        hidden = Linear(
            (self.config.feed_forward_dim,),
            ("embed", "feed_forward"),
            dtype,
            ("feed_forward",),
            name="expand",
        )(inputs)
        hidden = constrain(hidden, "act_row", "act_length", "act_feed_forward")
        hidden = activation(self.config.activation)(hidden)
        return Linear(
            (self.config.embed_dim,), ("feed_forward", "embed"), dtype, ("bias",), name="contract"
        )(hidden)
