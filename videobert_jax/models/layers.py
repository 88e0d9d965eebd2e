"""Layers whose parameters are born with logical axes: projection, norm, dropout, feed-forward."""

import functools
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
        scale = parameter(self, "scale", nn.initializers.ones_init(), ("norm",), size)
        bias = parameter(self, "bias", nn.initializers.zeros_init(), ("norm",), size)
        normed: Any = standardized(inputs, scale, bias, self.config.norm_epsilon)
        return normed.astype(jnp.dtype(self.config.compute_dtype))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def standardized(
    inputs: Float[Array, "*x d"],
    scale: Float[Array, " d"],
    bias: Float[Array, " d"],
    epsilon: float,
) -> Float[Array, "*x d"]:
    """Inputs of mean 0 and variance 1 along the last dimension, scaled and shifted, in float32.

    Its backward pass is written out (Ba et al. 2016, supplement): what JAX derives keeps the
    centred inputs in float32, which in bfloat16 are twice the inputs that are kept anyway.
    """
    return _standardized(inputs, scale, bias, epsilon)[0]


def _standardized(inputs: Any, scale: Any, bias: Any, epsilon: float) -> tuple[Any, Any]:
    values = inputs.astype(jnp.float32)
    mean = values.mean(-1, keepdims=True)
    variance = jnp.square(values - mean).mean(-1, keepdims=True)
    inverse = jax.lax.rsqrt(variance + epsilon)
    scale, bias = (each.reshape((1,) * (inputs.ndim - 1) + each.shape) for each in (scale, bias))
    return (values - mean) * inverse * scale + bias, (inputs, scale, mean, inverse)


def _standardized_backward(epsilon: float, kept: Any, gradient: Any) -> tuple[Any, Any, Any]:
    inputs, scale, mean, inverse = kept
    normed = (inputs.astype(jnp.float32) - mean) * inverse
    of_normed = gradient * scale
    along = (of_normed * normed).mean(-1, keepdims=True)
    of_inputs = inverse * (of_normed - of_normed.mean(-1, keepdims=True) - normed * along)
    places = tuple(range(inputs.ndim - 1))
    of_scale, of_bias = (gradient * normed).sum(places), gradient.sum(places)
    return of_inputs.astype(inputs.dtype), of_scale, of_bias


standardized.defvjp(_standardized, _standardized_backward)


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
        return dropped(inputs, self.make_rng("dropout"), self.rate)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def dropped(inputs: Float[Array, "*x"], key: Key[Array, ""], rate: float) -> Float[Array, "*x"]:
    """Inputs, 0 where `keep_mask` says so and larger elsewhere by what that takes of their mean.

    For the backward pass only the key is kept: the mask is drawn again where it is read.
    """
    keep = keep_mask(key, rate, inputs.shape)
    return jnp.where(keep, inputs * (1.0 / (1.0 - rate)), 0.0).astype(inputs.dtype)


def _dropped(inputs: Any, key: Any, rate: float) -> tuple[Any, Any]:
    return dropped(inputs, key, rate), key


def _dropped_backward(rate: float, key: Any, gradient: Any) -> tuple[Any, None]:
    return dropped(gradient, key, rate), None


dropped.defvjp(_dropped, _dropped_backward)


def activation(name: str) -> Callable[[jax.Array], jax.Array]:
    """Function of the name in `ModelConfig.activation`."""
    return {"gelu": gelu, "relu": jax.nn.relu}[name]


@jax.custom_vjp
def gelu(inputs: Float[Array, "..."]) -> Float[Array, "..."]:
    """x times the normal distribution's share below x: the exact GELU, as in BERT.

    By erf, where `jax.nn.gelu` takes erfc, which on CPU costs three times as much. Only the inputs
    are kept for the backward pass.
    """
    return inputs * _normal_share(inputs)


def _gelu(inputs: Any) -> tuple[Any, Any]:
    return gelu(inputs), inputs


def _gelu_backward(inputs: Any, gradient: Any) -> tuple[Any]:
    density = jnp.exp(-0.5 * jnp.square(inputs)) * (2 * math.pi) ** -0.5
    return (gradient * (_normal_share(inputs) + inputs * density),)


def _normal_share(values: Float[Array, "..."]) -> Float[Array, "..."]:
    return 0.5 * (1.0 + jax.lax.erf(values * 2**-0.5))


gelu.defvjp(_gelu, _gelu_backward)


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
