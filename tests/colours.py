"""A stand-in for the networks of 3D convolutions: features are the mean colours of clips, mixed."""

import numpy as np

from tests import fakes
from videobert_jax.video import clips, extract

CLIPS = clips.ClipSettings(fps=8.0, frames_per_clip=8, stride_frames=8)  # one a second
SIDE = 32
MIXING = np.random.default_rng(0).normal(size=(3, fakes.FEATURE_DIM)).astype(np.float32)


def _apply(variables, pictures):
    means = pictures.astype("float32").mean((1, 2, 3))
    return np.float32(1 / 99) * means @ variables, means


BACKBONE = extract.Backbone("colours", "mean", fakes.FEATURE_DIM, SIDE, "c" * 64, MIXING, _apply)
CONTRACT = extract.ClipExtractor(BACKBONE, CLIPS).contract


def of_contract(contract, weights_path):
    """Stands in for `backbones.of_contract`."""
    return BACKBONE, CLIPS.with_stride(contract.stride_seconds)


def features(pixels: np.ndarray) -> np.ndarray:
    """Of square frames [n, SIDE, SIDE, 3] at 8 a second, whole clips alone, float16."""
    means = [pixels[first : first + 8].mean((0, 1, 2)) for first in range(0, len(pixels) - 7, 8)]
    return (np.array(means, np.float32) / 99 @ MIXING).astype(np.float16)
