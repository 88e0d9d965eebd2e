"""Ingredients: whole, opened, in pieces, and as a pool of liquid."""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image

from videobert_jax.kitchen import drawing, palette
from videobert_jax.kitchen.drawing import Canvas, Sprite
from videobert_jax.kitchen.palette import Colour, Look

WIDTH, HEIGHT = 136, 100
X, Y = (
    WIDTH / 2,
    HEIGHT / 2,
)  # middle of the canvas of a whole ingredient; its long axis is x
PIECE = 44

_TURNS = [2 * math.pi * i / 6 for i in range(6)]


def draw_whole(
    name: str,
    outside: Colour,
    inside: Colour,
    look: Look,
    rng: np.random.Generator,
    opened: bool = False,
) -> Sprite:
    """The ingredient in one piece, or `opened`: peeled, halved or broken."""
    canvas = Canvas(WIDTH, HEIGHT)
    _WHOLE[palette.INGREDIENTS[name].shape](canvas, outside, inside, opened, rng)
    return canvas.sprite(look, rng)


def _round(canvas: Canvas, outside: Colour, inside: Colour, opened: bool, rng) -> None:
    canvas.ellipse(X, Y, 36, 34, inside if opened else outside)
    if opened:
        for turn in _TURNS:
            canvas.ellipse(X + 18 * math.cos(turn), Y + 17 * math.sin(turn), 7, 6, outside)
        return
    for turn in np.linspace(0, 2 * math.pi, 6)[:-1]:
        tip = (X - 8 + 14 * math.cos(turn), Y - 4 + 12 * math.sin(turn))
        canvas.stroke([(X - 8, Y - 4), tip], (52, 120, 40), 4)


def _ringed(canvas: Canvas, outside: Colour, inside: Colour, opened: bool, rng) -> None:
    colour = inside if opened else outside
    canvas.ellipse(X, Y, 35, 33, colour)
    canvas.polygon([(X + 28, Y - 9), (X + 52, Y - 3), (X + 52, Y + 3), (X + 28, Y + 9)], colour)
    for radius in (29, 22, 15, 8):
        line = outside if opened else palette.shade(colour, 0.72)
        canvas.ring(X, Y, radius, radius * 0.94, line, 1.4)


def _tapered(canvas: Canvas, outside: Colour, inside: Colour, opened: bool, rng) -> None:
    colour = inside if opened else outside
    edge = [(-54, -4), (36, -16), (44, -8), (44, 8), (36, 16), (-54, 4)]
    canvas.polygon([(X + x, Y + y) for x, y in edge], colour)
    if not opened:
        for leaf in range(-3, 4):
            canvas.stroke([(X + 44, Y), (X + 62, Y + leaf * 5)], (60, 140, 50), 3)
    for mark in range(-40, 40, 11):
        canvas.stroke([(X + mark, Y - 6), (X + mark + 2, Y + 2)], palette.shade(colour, 0.75), 1)


def _long(canvas: Canvas, outside: Colour, inside: Colour, opened: bool, rng) -> None:
    colour = inside if opened else outside
    canvas.rectangle(X - 56, Y - 16, X + 56, Y + 16, 15, colour)
    for mark in range(-46, 46, 8):
        top = Y - 8 + (mark % 3) * 7
        canvas.stroke([(X + mark, top), (X + mark + 5, top)], palette.shade(colour, 1.3), 1.6)


def _oval(canvas: Canvas, outside: Colour, inside: Colour, opened: bool, rng) -> None:
    colour = inside if opened else outside
    canvas.ellipse(X, Y, 43, 30, colour)
    for _ in range(16):
        x, y = X + rng.normal() * 18, Y + rng.normal() * 11
        canvas.ellipse(x, y, 1.7, 1.4, palette.shade(colour, 0.7))


def _lemon(canvas: Canvas, outside: Colour, inside: Colour, opened: bool, rng) -> None:
    colour = inside if opened else outside
    for x, y, radius_x, radius_y in ((0, 0, 37, 28), (-37, 0, 9, 7), (37, 0, 8, 6)):
        canvas.ellipse(X + x, Y + y, radius_x, radius_y, colour)
    for _ in range(40):
        x, y = X + rng.normal() * 15, Y + rng.normal() * 11
        canvas.ellipse(x, y, 1, 1, palette.shade(colour, 0.8))
    if opened:
        for turn in np.linspace(0, 2 * math.pi, 9)[:-1]:
            tip = (X + 27 * math.cos(turn), Y + 21 * math.sin(turn))
            canvas.stroke([(X, Y), tip], palette.shade(colour, 0.85), 2)


def _mushroom(canvas: Canvas, outside: Colour, inside: Colour, opened: bool, rng) -> None:
    colour = inside if opened else outside
    canvas.rectangle(X - 12, Y - 6, X + 12, Y + 36, 8, palette.shade(inside, 0.97))
    canvas.pie(X, Y - 1, 40, 37, 180, 360, colour)
    canvas.ellipse(X, Y - 1, 40, 8, palette.shade(colour, 0.86))
    canvas.arc(X, Y - 1, 38, 8, 0, 180, palette.shade(outside, 0.6), 2)


def _wedge(canvas: Canvas, outside: Colour, inside: Colour, opened: bool, rng) -> None:
    colour = inside if opened else outside
    top = [(-52, 18), (44, -32), (52, 24), (-48, 31)]
    side = [(-52, 18), (48, 10), (52, 24), (-48, 31)]
    canvas.polygon([(X + x, Y + y) for x, y in top], colour)
    canvas.polygon([(X + x, Y + y) for x, y in side], palette.shade(colour, 0.78))
    for x, y, radius in ((10, -6, 8), (30, -14, 6), (28, 6, 5), (-8, 8, 6), (40, 0, 4)):
        canvas.ellipse(X + x, Y + y, radius, radius * 0.8, palette.shade(colour, 0.72))


def _disc(canvas: Canvas, outside: Colour, inside: Colour, opened: bool, rng) -> None:
    canvas.blob(X, Y, 42, 38, 2.5, inside if opened else outside, rng, corners=20)
    for _ in range(10):
        x, y = X + rng.normal() * 16, Y + rng.normal() * 14
        canvas.ellipse(x, y, 3, 2, palette.shade(outside, 1.1))


def _egg(canvas: Canvas, outside: Colour, inside: Colour, opened: bool, rng) -> None:
    if opened:
        canvas.blob(X, Y, 47, 39, 4, (250, 248, 240), rng)
        canvas.ellipse(X + 4, Y - 2, 17, 16, inside)
    else:
        canvas.ellipse(X - 4, Y, 31, 23, outside)
        canvas.ellipse(X + 6, Y, 27, 21, outside)


def _steak(canvas: Canvas, outside: Colour, inside: Colour, opened: bool, rng) -> None:
    edge = canvas.blob(X, Y, 50, 33, 4, (238, 216, 198), rng)
    canvas.polygon(
        [(X + 2 + (x - X) * 0.87, Y + 2 + (y - Y) * 0.84) for x, y in edge],
        inside if opened else outside,
    )
    for _ in range(6):
        x, y = X + rng.normal() * 18, Y + rng.normal() * 9
        line = palette.shade(inside, 0.6) if opened else (226, 190, 176)
        canvas.stroke([(x, y), (x + 12, y + 6)], line, 2)


def _fish(canvas: Canvas, outside: Colour, inside: Colour, opened: bool, rng) -> None:
    colour = inside if opened else outside
    dark = palette.shade(colour, 0.72)
    tail = [(34, 0), (60, -21), (54, 0), (60, 21)]
    fin = [(-8, -18), (12, -31), (18, -15)]
    canvas.polygon([(X + x, Y + y) for x, y in tail], dark)
    canvas.polygon([(X + x, Y + y) for x, y in fin], dark)
    canvas.ellipse(X - 4, Y, 47, 21, colour)
    for _ in range(30):
        x, y = X - 20 + rng.random() * 48, Y - 10 + rng.random() * 20
        canvas.ellipse(x, y, 2, 1.4, palette.shade(colour, 1.2))
    canvas.ellipse(X - 38, Y - 5, 4, 4, (20, 20, 24))
    canvas.stroke([(X - 28, Y - 13), (X - 26, Y + 12)], dark, 2)


def _leaves(canvas: Canvas, outside: Colour, inside: Colour, opened: bool, rng) -> None:
    for leaf in range(24):
        x, y = X + rng.normal() * 22, Y + rng.normal() * 13
        turn = rng.random() * 2 * math.pi
        cosine, sine = math.cos(turn), math.sin(turn)
        edge = [
            (x - 15 * cosine, y - 15 * sine),
            (x - 6 * sine, y + 6 * cosine),
            (x + 15 * cosine, y + 15 * sine),
            (x + 6 * sine, y - 6 * cosine),
        ]
        canvas.polygon(edge, inside if leaf % 2 else outside)
        vein = [(x, y), (x + 10 * cosine, y + 10 * sine)]
        canvas.stroke(vein, palette.shade(outside, 0.7), 1)


def _liquid(canvas: Canvas, outside: Colour, inside: Colour, opened: bool, rng) -> None:
    canvas.blob(X, Y, 42, 32, 4, inside if opened else outside, rng)


_WHOLE: dict[str, Callable[..., None]] = {
    "round": _round,
    "ringed": _ringed,
    "tapered": _tapered,
    "long": _long,
    "oval": _oval,
    "lemon": _lemon,
    "mushroom": _mushroom,
    "wedge": _wedge,
    "disc": _disc,
    "egg": _egg,
    "steak": _steak,
    "fish": _fish,
    "leaves": _leaves,
    "liquid": _liquid,
}


def draw_piece(
    name: str, outside: Colour, inside: Colour, look: Look, rng: np.random.Generator
) -> Sprite:
    """A slice or chunk of the ingredient, turned at random."""
    canvas = Canvas(PIECE, PIECE)
    shape = palette.INGREDIENTS[name].shape
    if shape in _SLICE_RADIUS:
        _draw_slice(canvas, shape, outside, inside, rng)
    elif shape == "mushroom":
        middle = PIECE / 2
        canvas.rectangle(middle - 4, middle - 2, middle + 4, middle + 13, 3, inside)
        canvas.pie(middle, middle, 14, 13, 180, 360, outside)
    elif shape == "leaves":
        for sprig in range(4):
            turn, middle = rng.random() * 2 * math.pi, PIECE / 2
            tip = (middle + 12 * math.cos(turn), middle + 12 * math.sin(turn))
            canvas.stroke([(middle, middle), tip], outside if sprig % 2 else inside, 4)
    else:
        _draw_chunk(canvas, shape, outside, inside, rng)
    sprite = canvas.sprite(look, rng, shadow=0.35, roundness=3)
    turned = sprite.image.rotate(rng.random() * 360, Image.Resampling.BILINEAR)
    return Sprite(turned)


_SLICE_RADIUS = {
    "round": 16,
    "ringed": 16,
    "tapered": 12,
    "long": 13,
    "oval": 15,
    "lemon": 15,
    "egg": 15,
}


def _draw_slice(canvas: Canvas, shape: str, outside: Colour, inside: Colour, rng) -> None:
    middle = PIECE / 2
    radius = _SLICE_RADIUS[shape]
    height = radius * (0.62 + 0.35 * rng.random())
    if shape == "egg":
        canvas.ellipse(middle, middle, radius, height, (250, 248, 240))
        canvas.ellipse(middle, middle, radius * 0.5, height * 0.5, inside)
        return
    canvas.ellipse(middle, middle, radius, height, outside)
    canvas.ellipse(middle, middle, radius * 0.82, height * 0.82, inside)
    if shape == "ringed":
        for share in (0.6, 0.35):
            canvas.ring(middle, middle, radius * share, height * share, outside, 1.1)
    elif shape == "tapered":
        canvas.ellipse(middle, middle, radius * 0.35, height * 0.35, palette.shade(outside, 1.05))
    elif shape in ("round", "lemon", "long"):
        mixed = palette.as_colour((a + b) / 2 for a, b in zip(outside, inside, strict=True))
        for turn in _TURNS:
            x = middle + radius * 0.48 * math.cos(turn)
            y = middle + height * 0.48 * math.sin(turn)
            canvas.ellipse(x, y, 2.2, 1.8, mixed)


def _draw_chunk(canvas: Canvas, shape: str, outside: Colour, inside: Colour, rng) -> None:
    middle = PIECE / 2
    jut = rng.random(8) * 5
    corners = [
        (middle - 10 - jut[0], middle - 7 - jut[1]),
        (middle + 10 + jut[2], middle - 8 - jut[3]),
        (middle + 9 + jut[4], middle + 8 + jut[5]),
        (middle - 11 - jut[6], middle + 7 + jut[7]),
    ]
    if shape == "fish":  # pink flesh with a strip of skin
        canvas.polygon(corners, inside)
        canvas.stroke([corners[0], corners[1]], outside, 4)
        return
    canvas.polygon(corners, outside)
    if shape == "wedge":
        canvas.ellipse(middle - 4, middle - 1, 3.2, 2.8, palette.shade(outside, 0.72))
        canvas.ellipse(middle + 5, middle + 3, 2.4, 2, palette.shade(outside, 0.72))
    elif shape == "steak":
        canvas.stroke([corners[0], corners[3]], (238, 216, 198), 3)
        canvas.stroke([(middle - 2, middle - 3), (middle + 6, middle + 2)], (226, 190, 176), 1.5)


def draw_pool(colour: Colour, rng: np.random.Generator) -> Sprite:
    """A pool of stirred liquid, 150 pixels wide, with a swirl that shows its turning."""
    side = 150
    rows, columns = np.mgrid[:side, :side] - side / 2
    radius, turn = np.hypot(columns, rows), np.arctan2(rows, columns)
    swirl = np.sin(3 * turn + radius / 7 + 4 * drawing.fractal_noise(side, side, rng, 4, 4))
    light = 1 + 0.13 * swirl * (radius > 6)
    light = light * (0.9 + 0.2 * drawing.fractal_noise(side, side, rng, 5, 4))
    pixels = np.asarray(colour, np.float32) * light[..., None] + 18 * (swirl > 0.9)[..., None]
    edge = side / 2 - 4 + 10 * (drawing.fractal_noise(side, side, rng, 5, 3) - 0.5)
    opacity = 255 * np.clip((edge - radius) / 2, 0, 1)
    rgba = np.dstack([np.clip(pixels, 0, 255), opacity]).astype(np.uint8)
    return Sprite(Image.fromarray(rgba))
