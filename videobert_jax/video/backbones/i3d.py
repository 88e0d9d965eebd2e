"""I3D (Carreira and Zisserman 2017, arXiv:1705.07750): Inception-v1 inflated to three dimensions.

Batch normalisation is folded into the convolutions, by `videobert_jax.weights.i3d`.
Letters: g clips, s frames, y and x pixels, c channels.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from videobert_jax.video.backbones import inception
from videobert_jax.video.backbones.inception import ConvUnit, max_pool

MIN_FRAMES = 16  # eightfold reduction in time must leave the two steps that the head averages
SIDE = 224  # pixels of the square input
FEATURE_DIM = inception.FEATURE_DIM
NUM_CLASSES = 400


class InceptionModule(nn.Module):
    """Four parallel branches whose channels are concatenated."""

    channels: tuple[int, int, int, int, int, int]

    @nn.compact
    def __call__(self, inputs: Float[Array, "g s y x c"]) -> Float[Array, "g s y x c2"]:
        c0, c1a, c1b, c2a, c2b, c3 = self.channels
        cube = (3, 3, 3)
        branches = [
            ConvUnit(c0, name="Branch_0_Conv3d_0a_1x1")(inputs),
            ConvUnit(c1b, cube, name="Branch_1_Conv3d_0b_3x3")(
                ConvUnit(c1a, name="Branch_1_Conv3d_0a_1x1")(inputs)
            ),
            ConvUnit(c2b, cube, name="Branch_2_Conv3d_0b_3x3")(
                ConvUnit(c2a, name="Branch_2_Conv3d_0a_1x1")(inputs)
            ),
            ConvUnit(c3, name="Branch_3_Conv3d_0b_1x1")(max_pool(inputs, cube, (1, 1, 1))),
        ]
        return jnp.concatenate(branches, axis=-1)


class InceptionI3D(nn.Module):
    """Clip feature and Kinetics-400 logits of each clip.

    Input: frames scaled to [-1, 1], at least 16 of 224 x 224.
    Output: `(features [g, 1024], logits [g, 400])`; the feature is the mean of endpoint `Mixed_5c`
    over time and space.
    """

    @nn.compact
    def __call__(
        self, clips: Float[Array, "g s y x 3"]
    ) -> tuple[Float[Array, "g 1024"], Float[Array, "g 400"]]:
        if clips.shape[1] < MIN_FRAMES or clips.shape[2:4] != (SIDE, SIDE):
            raise ValueError(
                f"I3D was given clips of shape {clips.shape}; it takes [clips, frames >= "
                f"{MIN_FRAMES}, {SIDE}, {SIDE}, 3]: cut longer clips and crop to {SIDE} pixels."
            )
        net = ConvUnit(64, (7, 7, 7), (2, 2, 2), name="Conv3d_1a_7x7")(clips)
        net = max_pool(net, (1, 3, 3), (1, 2, 2))
        net = ConvUnit(64, name="Conv3d_2b_1x1")(net)
        net = ConvUnit(192, (3, 3, 3), name="Conv3d_2c_3x3")(net)
        pools = (
            ((1, 3, 3), (1, 2, 2)),
            ((3, 3, 3), (2, 2, 2)),
            ((2, 2, 2), (2, 2, 2)),
        )
        for pool, names in zip(pools, inception.STAGES, strict=True):
            net = max_pool(net, *pool)
            for name in names:
                net = InceptionModule(inception.MIXED_CHANNELS[name], name=name)(net)
        features = jnp.mean(net, axis=(1, 2, 3))
        pooled = nn.avg_pool(net, (2, 7, 7), strides=(1, 1, 1), padding="VALID")
        logits = ConvUnit(NUM_CLASSES, linear=True, name="Logits")(pooled)
        return features, jnp.mean(logits, axis=(1, 2, 3))


def scale_pixels(frames: Array) -> Float[Array, "..."]:
    """uint8 pixels as the float32 in [-1, 1] that the network was trained on."""
    return frames.astype(jnp.float32) * (2.0 / 255.0) - 1.0


def clip_features(
    variables: dict, clips: Array
) -> tuple[Float[Array, "g 1024"], Float[Array, "g 400"]]:
    """Features and logits of uint8 clips `[g, s, 224, 224, 3]`; to be jitted by the caller."""
    outputs: Any = InceptionI3D().apply(variables, scale_pixels(jnp.asarray(clips)))
    return outputs


def parameter_structs() -> dict:
    """Tree of `ShapeDtypeStruct` of the network's variables, without computing anything."""
    clip = jax.ShapeDtypeStruct((1, MIN_FRAMES, SIDE, SIDE, 3), jnp.float32)
    return jax.eval_shape(InceptionI3D().init, jax.random.key(0), clip)
