"""S3D and S3D-G (Xie et al. 2018, arXiv:1712.04851), in the two variants whose weights are public.

Inception-v1 inflated to three dimensions, every k x k x k convolution a 1 x k x k in space and a
k x 1 x 1 in time. `KineticsS3D` is torchvision's `s3d`; `HowTo100MS3D` is the gated network of
MIL-NCE (Miech et al. 2020, arXiv:1912.06430). Batch normalisation is folded into the convolutions,
by `videobert_jax.weights.s3d`. Letters: g clips, s frames, y and x pixels, c channels.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from videobert_jax.video.backbones import inception
from videobert_jax.video.backbones.inception import ConvUnit, Padding, max_pool

SIDE = 224  # pixels of the square input
FEATURE_DIM = inception.FEATURE_DIM
JOINT_DIM = 512
NUM_CLASSES = 400
HEAD_WINDOW = (2, 7, 7)  # what torchvision averages before it averages all windows
MIN_FRAMES = 14  # torchvision's `min_temporal_size`: two steps for the head's window

# Mean and deviation of Kinetics-400's pixels in [0, 1], by which torchvision normalises.
PIXEL_MEAN = np.array([0.43216, 0.394666, 0.37645], np.float32)
PIXEL_DEVIATION = np.array([0.22803, 0.22145, 0.216989], np.float32)

# Window and strides of the pooling before conv_2b, Mixed_3b, Mixed_4b and Mixed_5b.
POOLS = (
    ((1, 3, 3), (1, 2, 2)),
    ((1, 3, 3), (1, 2, 2)),
    ((3, 3, 3), (2, 2, 2)),
    ((2, 2, 2), (2, 2, 2)),
)


class SeparableUnit(nn.Module):
    """A convolution in space, then one in time, each with bias and ReLU."""

    channels: int
    size: int = 3
    stride: int = 1

    @nn.compact
    def __call__(self, inputs: Float[Array, "g s y x c"]) -> Float[Array, "g s2 y2 x2 c2"]:
        k, d = self.size, self.stride
        half, none = (k // 2, k // 2), (0, 0)
        net = ConvUnit(self.channels, (1, k, k), (1, d, d), (none, half, half), name="space")(
            inputs
        )
        return ConvUnit(self.channels, (k, 1, 1), (d, 1, 1), (half, none, none), name="time")(net)


class SelfGate(nn.Module):
    """Channels weighted by a sigmoid of what all of them are on average (section 4.2 of S3D)."""

    @nn.compact
    def __call__(self, inputs: Float[Array, "g s y x c"]) -> Float[Array, "g s y x c"]:
        mean = jnp.mean(inputs, axis=(1, 2, 3))
        weights = nn.sigmoid(nn.Dense(inputs.shape[-1], name="weights")(mean))
        return inputs * weights[:, None, None, None, :]


class InceptionModule(nn.Module):
    """Four parallel branches, each gated or none, whose channels are concatenated.

    The three 1 x 1 x 1 convolutions of the module's input are one, `reduce`: one large product is
    faster than three small ones.
    """

    channels: tuple[int, int, int, int, int, int]
    gated: bool

    @nn.compact
    def __call__(self, inputs: Float[Array, "g s y x c"]) -> Float[Array, "g s y x c2"]:
        c0, c1a, c1b, c2a, c2b, c3 = self.channels
        reduced = ConvUnit(c0 + c1a + c2a, name="reduce")(inputs)
        first, second, third = jnp.split(reduced, (c0, c0 + c1a), axis=-1)
        branches = [
            first,
            SeparableUnit(c1b, name="branch_1")(second),
            SeparableUnit(c2b, name="branch_2")(third),
            ConvUnit(c3, name="branch_3")(max_pool(inputs, (3, 3, 3), (1, 1, 1))),
        ]
        if self.gated:
            branches = [SelfGate(name=f"gate_{i}")(branch) for i, branch in enumerate(branches)]
        return jnp.concatenate(branches, axis=-1)


class Trunk(nn.Module):
    """From the stem's 64 channels to Mixed_5c."""

    gated: bool

    @nn.compact
    def __call__(self, stem: Float[Array, "g s y x 64"]) -> Float[Array, "g s2 y2 x2 1024"]:
        pool = _pool_covering if self.gated else _pool_centred
        net = ConvUnit(64, name="conv_2b")(pool(stem, *POOLS[0]))
        net = SeparableUnit(192, name="conv_2c")(net)
        if self.gated:
            net = SelfGate(name="gate")(net)
        for pooling, names in zip(POOLS[1:], inception.STAGES, strict=True):
            net = pool(net, *pooling)
            for name in names:
                net = InceptionModule(inception.MIXED_CHANNELS[name], self.gated, name=name)(net)
        return net


def _pool_centred(values: Array, window: tuple, strides: tuple) -> Array:
    """torchvision's pooling: half a window of padding on either side, windows inside that."""
    padding = tuple(((size - 1) // 2,) * 2 for size in window)
    return max_pool(values, window, strides, padding)


def _pool_covering(values: Array, window: tuple, strides: tuple) -> Array:
    """MIL-NCE's pooling: ceil(length / stride) windows that start at the first element.

    For even lengths that is TensorFlow's "SAME"; for odd ones, which squares of 200 pixels lead
    to, the published PyTorch network pads behind alone, and so does this one.
    """
    padding: Padding = tuple(
        (0, max((-(-length // stride) - 1) * stride + size - length, 0))
        for length, size, stride in zip(values.shape[1:4], window, strides, strict=True)
    )
    return max_pool(values, window, strides, padding)


class KineticsS3D(nn.Module):
    """Clip feature and Kinetics-400 logits, as torchvision's `s3d`.

    Input: normalised frames, at least 14 of 224 x 224. Output: `(features [g, 1024], logits
    [g, 400])`. The feature is what the classifier sees: the mean over all windows of the means
    over 2 steps of 7 x 7, so that inner steps weigh twice as much as the first and last.
    """

    @nn.compact
    def __call__(
        self, clips: Float[Array, "g s y x 3"]
    ) -> tuple[Float[Array, "g 1024"], Float[Array, "g 400"]]:
        if clips.shape[1] < MIN_FRAMES or min(clips.shape[2:4]) < SIDE:
            raise ValueError(
                f"S3D was given clips of shape {clips.shape}; it takes [clips, frames >= "
                f"{MIN_FRAMES}, {SIDE}, {SIDE}, 3]: cut longer clips and crop to {SIDE} pixels."
            )
        net = Trunk(gated=False, name="trunk")(SeparableUnit(64, 7, 2, name="stem")(clips))
        windows = nn.avg_pool(net, HEAD_WINDOW, strides=(1, 1, 1), padding="VALID")
        features = jnp.mean(windows, axis=(1, 2, 3))
        return features, nn.Dense(NUM_CLASSES, name="logits")(features)


class HowTo100MS3D(nn.Module):
    """Clip feature and joint embedding, as the S3D-G of MIL-NCE.

    Input: frames with pixels in [0, 1], 32 or 16 of 200 to 256 pixels a side in its training, any
    even numbers here. Output: `(features [g, 1024], embeddings [g, 512])`: the mean of Mixed_5c
    over time and space, and its place in the joint space of clips and sentences, not normalised.
    """

    @nn.compact
    def __call__(
        self, clips: Float[Array, "g s y x 3"]
    ) -> tuple[Float[Array, "g 1024"], Float[Array, "g 512"]]:
        if any(size % 2 or not size for size in clips.shape[1:4]):
            raise ValueError(
                f"S3D-G was given clips of shape {clips.shape}; its stem halves frames, rows and "
                "columns: give even numbers of them, such as 32 frames of 224 x 224."
            )
        # The published stem pads by 1, 2 and 2 on both sides and drops what the first padding
        # gives: 1 less before.
        stem = ConvUnit(64, (2, 4, 4), padding=((0, 1), (1, 2), (1, 2)), name="stem")
        net = Trunk(gated=True, name="trunk")(stem(space_to_depth(clips)))
        features = jnp.mean(net, axis=(1, 2, 3))
        return features, nn.Dense(JOINT_DIM, name="joint")(features)


def space_to_depth(clips: Float[Array, "g s y x 3"]) -> Float[Array, "g s2 y2 x2 24"]:
    """Blocks of 2 x 2 x 2 pixels as 24 channels: frame, row, column, then colour."""
    g, s, y, x, c = clips.shape
    blocks = clips.reshape(g, s // 2, 2, y // 2, 2, x // 2, 2, c)
    return blocks.transpose(0, 1, 3, 5, 2, 4, 6, 7).reshape(g, s // 2, y // 2, x // 2, 8 * c)


def normalise_pixels(frames: Array) -> Float[Array, "..."]:
    """uint8 pixels as torchvision's weights know them: in [0, 1], less the mean, by deviation."""
    scale, shift = 1 / (255 * PIXEL_DEVIATION), PIXEL_MEAN / PIXEL_DEVIATION
    by_colour = (1,) * (frames.ndim - 1) + (-1,)
    return frames.astype(jnp.float32) * scale.reshape(by_colour) - shift.reshape(by_colour)


def kinetics_features(
    variables: dict, clips: Array
) -> tuple[Float[Array, "g 1024"], Float[Array, "g 400"]]:
    """Features and logits of uint8 clips `[g, s, 224, 224, 3]`; to be jitted by the caller."""
    outputs: Any = KineticsS3D().apply(variables, normalise_pixels(jnp.asarray(clips)))
    return outputs


def howto100m_features(
    variables: dict, clips: Array
) -> tuple[Float[Array, "g 1024"], Float[Array, "g 512"]]:
    """Features and joint embeddings of uint8 clips `[g, s, y, x, 3]`; to be jitted."""
    pixels = jnp.asarray(clips).astype(jnp.float32) * (1.0 / 255.0)
    outputs: Any = HowTo100MS3D().apply(variables, pixels)
    return outputs


@functools.cache
def parameter_structs(network: type[nn.Module]) -> dict:
    """Tree of `ShapeDtypeStruct` of a network's variables, without computing anything."""
    clip = jax.ShapeDtypeStruct((1, 16, SIDE, SIDE, 3), jnp.float32)
    return jax.eval_shape(network().init, jax.random.key(0), clip)
