"""Pictures as a camera takes them: the scene, its light, a hand that shakes, a noisy sensor."""

import math

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from videobert_jax.kitchen.actions import ACTIONS
from videobert_jax.kitchen.counter import VIEW, WORLD, VideoStyle
from videobert_jax.kitchen.palette import Number
from videobert_jax.kitchen.scene import Scene

MARGIN = (WORLD - VIEW) // 2


def film_action(scene: Scene, seconds: Number) -> UInt8[np.ndarray, "224 224 3"]:
    """The scene `seconds` after its step began."""
    picture = scene.table.copy()
    ACTIONS[scene.step.verb](scene, picture, seconds)
    return _expose(picture, scene.style, scene.rhythm.phase, seconds)


def film_rest(scene: Scene, seconds: Number) -> UInt8[np.ndarray, "224 224 3"]:
    """The table of the scene while nobody is at it."""
    return _expose(scene.table, scene.style, scene.rhythm.phase, seconds)


def _expose(picture: Image.Image, style: VideoStyle, phase: Number, seconds: Number) -> np.ndarray:
    sway, tremor = 3 * style.shake, 1.5 * style.shake
    left = sway * math.sin(2.1 * seconds + 9 * phase) + tremor * math.sin(7.3 * seconds)
    top = sway * math.cos(1.7 * seconds + 5 * phase) + tremor * math.sin(8.9 * seconds + 1)
    left = min(2 * MARGIN - 1, max(0, MARGIN + round(left)))
    top = min(2 * MARGIN - 1, max(0, MARGIN + round(top)))
    view = np.asarray(picture.crop((left, top, left + VIEW, top + VIEW)), np.float32)
    tick = int(997 * seconds)
    row, column = tick % 63, (7 * tick) % 61
    grain = style.noise[row : row + VIEW, column : column + VIEW]
    flicker = 1 + 0.015 * math.sin(11 * seconds)
    pixels = np.clip(view * (style.light * flicker) + grain, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels[:, ::-1]) if style.mirrored else pixels
