"""The worktop: its material, the things that stand at its edges, and the light on it."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from videobert_jax.kitchen import drawing, palette
from videobert_jax.kitchen.drawing import Canvas, Sprite
from videobert_jax.kitchen.palette import Colour, Look

WORLD = 256  # pixels drawn; the camera sees 224 of them
VIEW = 224


@dataclasses.dataclass(frozen=True)
class VideoStyle:
    """What stays the same through a video: kitchen, cook, light and camera."""

    material: str
    counter: Image.Image  # RGB, WORLD x WORLD
    skin: Colour
    sleeve: Colour
    light: np.ndarray  # float32 [VIEW, VIEW, 3], multiplies the picture
    noise: np.ndarray  # float32 [VIEW + 64, VIEW + 64, 1], sensor noise
    shake: float
    mirrored: bool
    toast: Sprite  # what is sprinkled upon, where the container is empty


def draw_style(
    look: Look, rng: np.random.Generator, materials: Sequence[str] = palette.MATERIALS
) -> VideoStyle:
    """A kitchen drawn at random, with a worktop of one of the materials."""
    material = palette.choose(materials, rng)
    tint = 1 + 0.1 * (rng.random(3) - 0.5)
    pixels = _MATERIALS[material](rng) * tint
    if look.texture == 0:
        pixels = np.broadcast_to(pixels.mean((0, 1)), pixels.shape)
    counter = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    if look.clutter:
        for _ in range(int(rng.integers(2, 5))):
            _place_clutter(counter, look, rng)
    strength = look.noise * rng.uniform(2, 6)
    noise = rng.standard_normal((VIEW + 64, VIEW + 64, 1), dtype=np.float32) * strength
    return VideoStyle(
        material=material,
        counter=counter,
        skin=palette.choose(palette.SKINS, rng),
        sleeve=palette.as_colour(rng.integers(30, 230, 3).tolist()),
        light=_light(look, rng),
        noise=noise.astype(np.float32),
        shake=look.camera_shake * rng.uniform(0.2, 1.0),
        mirrored=bool(rng.random() < 0.4),
        toast=_toast(look, rng),
    )


def _light(look: Look, rng: np.random.Generator) -> np.ndarray:
    across = np.mgrid[:VIEW, :VIEW] / VIEW - 0.5
    gradient = look.light * rng.uniform(-0.3, 0.3, 2)
    vignette = look.light * rng.uniform(0.1, 0.6)
    falloff = 1 + gradient[0] * across[0] + gradient[1] * across[1]
    strength = rng.uniform(1 - 0.12 * look.light, 1 + 0.12 * look.light)
    falloff = strength * (falloff - vignette * (across**2).sum(0))
    white_balance = 1 + 0.07 * look.light * (rng.random(3) - 0.5)
    return (falloff[..., None] * white_balance).astype(np.float32)


def _wood(rng: np.random.Generator) -> np.ndarray:
    grain = drawing.fractal_noise(WORLD, WORLD, rng, 2, 6, (14, 1))
    rows = np.arange(WORLD)[:, None]
    plank = int(rng.integers(40, 80))
    offset = (rng.random(20) * 0.35)[(rows // plank) % 20]
    light = 0.4 + 0.5 * grain + 0.09 * np.sin(60 * grain + offset * 20) + offset
    pixels = np.array(palette.choose(((166, 112, 66), (120, 78, 44), (196, 154, 106)), rng))
    pixels = pixels * light[..., None]
    pixels[rows[:, 0] % plank < 1] *= 0.6
    return pixels


def _marble(rng: np.random.Generator) -> np.ndarray:
    noise = drawing.fractal_noise(WORLD, WORLD, rng, 3, 6)
    veins = np.abs(np.sin(9 * noise + np.linspace(0, 5, WORLD)[None]))
    cloud = 0.92 + 0.12 * drawing.fractal_noise(WORLD, WORLD, rng, 6, 4)
    return np.array([228, 226, 222]) * ((1 - 0.38 * (1 - veins) ** 4) * cloud)[..., None]


def _granite(rng: np.random.Generator) -> np.ndarray:
    speckle = rng.random((WORLD, WORLD))
    cloud = drawing.fractal_noise(WORLD, WORLD, rng, 30, 3)
    colour = np.array(palette.choose(((96, 92, 90), (140, 128, 116), (60, 60, 66)), rng))
    light = 0.7 + 0.5 * cloud + 0.35 * (speckle > 0.93) - 0.3 * (speckle < 0.06)
    return colour * light[..., None]


def _steel(rng: np.random.Generator) -> np.ndarray:
    brushed = 0.6 * drawing.value_noise(WORLD, WORLD, rng, 220, 3)
    brushed = brushed + 0.4 * drawing.value_noise(WORLD, WORLD, rng, 5, 5)
    return np.array([176, 180, 186]) * (0.72 + 0.4 * brushed)[..., None]


def _tiles(rng: np.random.Generator) -> np.ndarray:
    side = int(rng.integers(44, 70))
    rows, columns = np.mgrid[:WORLD, :WORLD]
    grout = (rows % side < 3) | (columns % side < 3)
    colour = np.array(palette.choose(((214, 206, 190), (120, 160, 170), (200, 120, 90)), rng))
    light = 0.85 + 0.18 * rng.random((12, 12))[rows // side, columns // side]
    light = light + 0.1 * drawing.fractal_noise(WORLD, WORLD, rng, 8, 4)
    pixels = colour * light[..., None]
    pixels[grout] *= 0.62
    return pixels


def _cloth(rng: np.random.Generator) -> np.ndarray:
    side = int(rng.integers(14, 26))
    rows, columns = np.mgrid[:WORLD, :WORLD]
    share = (0.5 * (rows // side % 2) + 0.5 * (columns // side % 2))[..., None]
    colour = np.array(palette.choose(((180, 50, 50), (60, 90, 150), (70, 130, 80)), rng))
    weave = 0.9 + 0.05 * ((rows + columns) % 3)
    folds = 0.88 + 0.2 * drawing.fractal_noise(WORLD, WORLD, rng, 3, 3)
    return (238 * (1 - share) + colour * share) * (weave * folds)[..., None]


_MATERIALS = {
    "wood": _wood,
    "marble": _marble,
    "granite": _granite,
    "steel": _steel,
    "tiles": _tiles,
    "cloth": _cloth,
}


def _place_clutter(counter: Image.Image, look: Look, rng: np.random.Generator) -> None:
    """A cup, a towel, a shaker, a bottle or a hob ring, at the edge of the picture."""
    around = rng.random() * 2 * math.pi
    centre = WORLD / 2
    canvas = Canvas(110, 110)
    colour = palette.as_colour(rng.integers(60, 240, 3).tolist())
    kind = int(rng.integers(5))
    if kind == 0:
        canvas.ellipse(55, 55, 30, 30, (236, 234, 228))
        canvas.ellipse(55, 55, 24, 24, colour)
    elif kind == 1:
        canvas.rectangle(20, 10, 90, 100, 6, colour)
        for stripe in range(4):
            edge = 24 + stripe * 20
            canvas.stroke([(24, edge), (86, edge)], palette.shade(colour, 1.3), 4)
    elif kind == 2:
        canvas.ellipse(55, 55, 20, 20, (200, 204, 210))
        canvas.ellipse(55, 55, 14, 14, (150, 154, 160))
        for hole in range(6):
            x, y = 55 + 6 * math.cos(hole), 55 + 6 * math.sin(hole)
            canvas.ellipse(x, y, 1.5, 1.5, (40, 40, 40))
    elif kind == 3:
        canvas.rectangle(38, 14, 72, 98, 10, colour)
        canvas.ellipse(55, 56, 10, 10, palette.shade(colour, 0.6))
    else:
        canvas.ellipse(55, 55, 34, 34, (70, 70, 74))
        for radius in (8, 15, 22, 29):
            glow = (180, 70, 50) if radius % 2 else (30, 30, 32)
            canvas.ring(55, 55, radius, radius, glow, 2.7)
    sprite = canvas.sprite(look, rng, relief=0.6)
    x, y = centre + 138 * math.cos(around), centre + 138 * math.sin(around)
    sprite.paste(counter, x, y, rng.random() * 360)


def _toast(look: Look, rng: np.random.Generator) -> Sprite:
    canvas = Canvas(150, 140)
    crust = palette.choose(((214, 170, 110), (226, 200, 150), (150, 80, 50)), rng)
    canvas.ellipse(75, 70, 62, 58, crust)
    canvas.ellipse(75, 70, 55, 51, palette.as_colour(channel + 20 for channel in crust))
    return canvas.sprite(look, rng, grain=0.2)
