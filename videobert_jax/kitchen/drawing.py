"""Shapes drawn at three times the size, sprites that are turned and scaled, and noise."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from videobert_jax.kitchen.palette import Colour, Look, Number

OVERSAMPLING = 3  # Pillow draws without smoothing: draw large, then average
ANGLE_STEP = 3  # degrees; a sprite's turned copies are kept
SCALE_STEPS = 32  # and its scaled ones, in steps of 1/32
CACHE_SIZE = 300

Points = Sequence[tuple[Number, Number]]


def value_noise(height: int, width: int, rng: np.random.Generator, rows: int, columns: int):
    """Smooth noise in [0, 1], float32 `[height, width]`, from a grid of random values."""
    grid = rng.random((max(2, rows), max(2, columns))).astype(np.float32)
    return np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC))


def fractal_noise(
    height: int,
    width: int,
    rng: np.random.Generator,
    base: int = 4,
    octaves: int = 5,
    stretch: tuple[Number, Number] = (1.0, 1.0),
) -> np.ndarray:
    """Sum of value noises, each twice as fine and 0.55 as strong; `stretch` is (rows, columns)."""
    total, weight = np.zeros((height, width), np.float32), 0.0
    for octave in range(octaves):
        cells, strength = base * 2**octave, 0.55**octave
        rows, columns = int(cells * stretch[0]) + 2, int(cells * stretch[1]) + 2
        total += strength * value_noise(height, width, rng, rows, columns)
        weight += strength
    return total / weight


class Sprite:
    """A picture with transparency that is placed by its anchor."""

    def __init__(self, image: Image.Image, anchor: tuple[Number, Number] | None = None):
        self.image = image
        self.anchor = anchor or (image.width / 2, image.height / 2)
        self._copies: dict[tuple[int, int, int], tuple[Image.Image, float, float]] = {}

    def placed(self, angle: Number = 0, scale_x: Number = 1, scale_y: Number | None = None):
        """(turned and scaled copy, x, y of the anchor in it); degrees counter-clockwise."""
        scale_y = scale_x if scale_y is None else scale_y
        key = (
            round(angle / ANGLE_STEP) % (360 // ANGLE_STEP),
            max(1, round(scale_x * SCALE_STEPS)),
            max(1, round(abs(scale_y) * SCALE_STEPS)),
        )
        if key not in self._copies:
            if len(self._copies) >= CACHE_SIZE:
                self._copies.pop(next(iter(self._copies)))
            self._copies[key] = self._make(
                key[0] * ANGLE_STEP, key[1] / SCALE_STEPS, key[2] / SCALE_STEPS
            )
        return self._copies[key]

    def _make(self, angle: int, scale_x: Number, scale_y: Number):
        image = self.image
        if (scale_x, scale_y) != (1, 1):
            size = (
                max(1, round(image.width * scale_x)),
                max(1, round(image.height * scale_y)),
            )
            image = image.resize(size, Image.Resampling.BILINEAR)
        if angle:
            image = image.rotate(angle, Image.Resampling.BILINEAR, expand=True)
        x = (self.anchor[0] - self.image.width / 2) * scale_x
        y = (self.anchor[1] - self.image.height / 2) * scale_y
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        return (
            image,
            image.width / 2 + x * cosine + y * sine,
            image.height / 2 - x * sine + y * cosine,
        )

    def paste(
        self,
        target: Image.Image,
        x: Number,
        y: Number,
        angle: Number = 0,
        scale_x: Number = 1,
        scale_y: Number | None = None,
    ) -> None:
        """Draws the sprite with its anchor at (x, y) of the target."""
        image, anchor_x, anchor_y = self.placed(angle, scale_x, scale_y)
        target.paste(image, (round(x - anchor_x), round(y - anchor_y)), image)

    def resized(self, factor: Number) -> "Sprite":
        """The same sprite at another size."""
        size = (round(self.image.width * factor), round(self.image.height * factor))
        image = self.image.resize(size, Image.Resampling.BILINEAR)
        return Sprite(image, (self.anchor[0] * factor, self.anchor[1] * factor))


class Canvas:
    """A transparent picture to draw on; coordinates are final pixels."""

    def __init__(self, width: int, height: int):
        self.image = Image.new("RGBA", (width * OVERSAMPLING, height * OVERSAMPLING), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self.image)

    def ellipse(self, x: Number, y: Number, radius_x: Number, radius_y: Number, colour: Colour):
        self._draw.ellipse(_box(x, y, radius_x, radius_y), fill=colour)

    def ring(
        self,
        x: Number,
        y: Number,
        radius_x: Number,
        radius_y: Number,
        colour: Colour,
        width=1.3,
    ):
        line = max(1, round(width * OVERSAMPLING))
        self._draw.ellipse(_box(x, y, radius_x, radius_y), outline=colour, width=line)

    def pie(self, x, y, radius_x, radius_y, start: Number, end: Number, colour: Colour):
        self._draw.pieslice(_box(x, y, radius_x, radius_y), start, end, fill=colour)

    def arc(
        self,
        x,
        y,
        radius_x,
        radius_y,
        start: Number,
        end: Number,
        colour: Colour,
        width=2.0,
    ):
        line = max(1, round(width * OVERSAMPLING))
        self._draw.arc(_box(x, y, radius_x, radius_y), start, end, fill=colour, width=line)

    def polygon(self, points: Points, colour: Colour):
        self._draw.polygon([(x * OVERSAMPLING, y * OVERSAMPLING) for x, y in points], fill=colour)

    def stroke(self, points: Points, colour: Colour, width: Number):
        """A line with round ends."""
        scaled = [(x * OVERSAMPLING, y * OVERSAMPLING) for x, y in points]
        self._draw.line(scaled, fill=colour, width=round(width * OVERSAMPLING), joint="curve")
        for x, y in (points[0], points[-1]):
            self.ellipse(x, y, width / 2, width / 2, colour)

    def rectangle(self, left, top, right, bottom, radius: Number, colour: Colour):
        """A rectangle with round corners."""
        box = [edge * OVERSAMPLING for edge in (left, top, right, bottom)]
        self._draw.rounded_rectangle(box, radius * OVERSAMPLING, fill=colour)

    def blob(
        self,
        x,
        y,
        radius_x,
        radius_y,
        roughness: Number,
        colour: Colour,
        rng,
        corners=16,
    ):
        """A closed shape with an uneven edge; returns its corners."""
        angles = np.linspace(0, 2 * math.pi, corners + 1)[:-1]
        points = [
            (
                x + (radius_x + roughness * rng.normal()) * math.cos(angle),
                y + (radius_y + roughness * rng.normal()) * math.sin(angle),
            )
            for angle in angles
        ]
        self.polygon(points, colour)
        return points

    def sprite(
        self,
        look: Look,
        rng: np.random.Generator,
        anchor: tuple[Number, Number] | None = None,
        relief: Number = 0.9,
        grain: Number = 0.16,
        shadow: Number = 0.45,
        roundness: Number = 5.0,
    ) -> Sprite:
        """What was drawn, with light from the upper left, a grain and a soft shadow."""
        size = (self.image.width // OVERSAMPLING, self.image.height // OVERSAMPLING)
        image = self.image.resize(size, Image.Resampling.BOX)
        pixels = np.array(image, np.float32)
        opacity = pixels[..., 3]
        mask = image.getchannel("A")
        height = np.asarray(mask.filter(ImageFilter.GaussianBlur(roundness)), np.float32) / 255
        slope_y, slope_x = np.gradient(height)
        light = 1 + relief * 4 * (slope_x + slope_y) * opacity / 255
        noise = fractal_noise(image.height, image.width, rng, 10, 4) - 0.5
        light *= 1 + grain * look.texture * 2 * noise
        pixels[..., :3] = np.clip(pixels[..., :3] * light[..., None], 0, 255)
        lit = Image.fromarray(pixels.astype(np.uint8))
        return Sprite(_with_shadow(lit, mask, shadow), anchor)


def _box(x: Number, y: Number, radius_x: Number, radius_y: Number) -> list[Number]:
    edges = (x - radius_x, y - radius_y, x + radius_x, y + radius_y)
    return [edge * OVERSAMPLING for edge in edges]


def _with_shadow(image: Image.Image, mask: Image.Image, strength: Number) -> Image.Image:
    soft = mask.filter(ImageFilter.GaussianBlur(4)).point(lambda value: int(value * strength))
    moved = Image.new("L", image.size, 0)
    moved.paste(soft, (4, 5))
    result = Image.new("RGBA", image.size, (0, 0, 0, 0))
    result.putalpha(moved)
    result.alpha_composite(image)
    return result
