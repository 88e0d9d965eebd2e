"""A backbone: the mean colours of a clip, in the place of a network.

python -m videobert_jax extract --videos DIR --output DIR --backbone my_package.backbone
"""

import hashlib
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from videobert_jax.video import clips, extract

CLIPS = clips.ClipSettings(fps=8.0, frames_per_clip=8, stride_frames=8)  # a clip a second


def load(weights: pathlib.Path | None) -> extract.Backbone:
    """weights: the file of --weights, None where none is given; here it may scale the colours."""
    scale = np.ones(3, np.float32) if weights is None else np.load(weights)
    return extract.Backbone(
        name=__name__,  # the dotted path: contracts of the features say it
        layer="mean colour",
        dim=3,
        side=32,
        weights_sha256=hashlib.sha256(scale.tobytes()).hexdigest(),
        variables=scale,
        apply=_apply,
    )


def _apply(scale: Any, frames: Array) -> tuple[Array, Array]:
    """Features [g, 3], and logits where there are classes, of uint8 clips [g, s, y, x, 3]."""
    features = frames.astype(jnp.float32).mean((1, 2, 3)) / 255 * scale[None]
    return features, jnp.zeros((len(frames), 0))
