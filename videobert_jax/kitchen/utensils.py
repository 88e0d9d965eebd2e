"""Containers, tools and hands."""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image

from videobert_jax.kitchen import drawing, palette
from videobert_jax.kitchen.drawing import Canvas, Sprite
from videobert_jax.kitchen.palette import METAL, WOOD, Colour, Look, Number

# A tool works at this point of its canvas; its handle, the hand and the arm run along +x.
WORK_X, WORK_Y = 40, 70


def draw_container(name: str, look: Look, rng: np.random.Generator) -> Sprite:
    """A pan, bowl, pot, plate or board seen from above."""
    canvas = Canvas(230, 210)
    _CONTAINERS[name](canvas, 115, 105, rng)
    return canvas.sprite(look, rng, relief=0.6, grain=0.08, shadow=0.6, roundness=6)


def _pan(canvas: Canvas, x: Number, y: Number, rng) -> None:
    turn = palette.choose((-0.5, 0, 0.5, 2.7, 3.4), rng)
    colour = palette.choose(((40, 40, 44), (70, 68, 66), (90, 50, 40)), rng)
    handle = [(x + reach * math.cos(turn), y + reach * math.sin(turn)) for reach in (70, 95, 106)]
    canvas.stroke(handle, (30, 30, 32), 15)
    canvas.ellipse(x, y, 80, 78, palette.as_colour(channel + 36 for channel in colour))
    canvas.ellipse(x, y, 75, 73, palette.shade(colour, 0.5))
    canvas.ellipse(x + 1, y + 2, 69, 67, colour)


def _bowl(canvas: Canvas, x: Number, y: Number, rng) -> None:
    colours = ((232, 232, 228), (120, 160, 190), (206, 180, 150), (190, 196, 202))
    colour = palette.choose(colours, rng)
    canvas.ellipse(x, y, 78, 76, colour)
    canvas.ellipse(x, y, 72, 70, palette.shade(colour, 0.72))
    canvas.ellipse(x + 3, y + 4, 60, 58, palette.shade(colour, 0.86))


def _pot(canvas: Canvas, x: Number, y: Number, rng) -> None:
    colour = palette.choose(((178, 182, 188), (150, 60, 50), (60, 80, 110)), rng)
    canvas.rectangle(x - 98, y - 14, x + 98, y + 14, 10, (50, 50, 54))
    canvas.ellipse(x, y, 82, 80, colour)
    canvas.ellipse(x, y, 75, 73, (120, 124, 130))
    canvas.ellipse(x + 2, y + 5, 70, 67, (150, 154, 160))


def _plate(canvas: Canvas, x: Number, y: Number, rng) -> None:
    colour = palette.choose(((244, 242, 238), (210, 222, 232), (236, 222, 196)), rng)
    canvas.ellipse(x, y, 84, 82, colour)
    canvas.ellipse(x, y, 64, 62, palette.shade(colour, 0.88))
    canvas.ellipse(x + 1, y + 1, 61, 59, palette.shade(colour, 0.97))


def _board(canvas: Canvas, x: Number, y: Number, rng) -> None:
    colours = ((186, 132, 80), (150, 98, 58), (214, 176, 126), (230, 230, 226))
    colour = palette.choose(colours, rng)
    canvas.rectangle(x - 100, y - 76, x + 100, y + 76, 12, colour)
    canvas.ellipse(x - 88, y - 62, 6, 6, palette.shade(colour, 0.5))
    for row in range(-68, 70, 5):
        line = [(x - 95, y + row + rng.normal()), (x + 95, y + row + 2 * rng.normal())]
        canvas.stroke(line, palette.shade(colour, 0.92 + 0.05 * rng.random()), 1)


_CONTAINERS: dict[str, Callable[..., None]] = {
    "pan": _pan,
    "bowl": _bowl,
    "pot": _pot,
    "plate": _plate,
    "board": _board,
}


def draw_hand(canvas: Canvas, x: Number, y: Number, skin: Colour, sleeve: Colour, grip: bool):
    """A hand at (x, y), closed around something or open; the arm runs to +x."""
    dark = palette.shade(skin, 0.82)
    canvas.polygon([(x + 8, y - 12), (x + 60, y - 17), (x + 60, y + 17), (x + 8, y + 12)], skin)
    cuff = [(x + 50, y - 21), (x + 250, y - 26), (x + 250, y + 26), (x + 50, y + 21)]
    canvas.polygon(cuff, sleeve)
    canvas.stroke([(x + 52, y - 20), (x + 52, y + 20)], palette.shade(sleeve, 0.8), 4)
    canvas.ellipse(x, y, 19.5, 17, skin)
    if grip:
        for finger in range(4):
            base = x - 10 + finger * 7
            canvas.stroke([(base, y - 14), (base - 3, y + 5)], dark, 8.5)
            canvas.stroke([(base, y - 14), (base - 3, y + 3)], skin, 7)
        canvas.stroke([(x + 6, y + 12), (x - 16, y + 10)], skin, 8)
        return
    nail = palette.as_colour(channel + 26 for channel in skin)
    for finger, (turn, length) in enumerate(((-0.55, 24), (-0.2, 31), (0.08, 32), (0.38, 28))):
        base = (x - 12, y - 11 + 7 * finger)
        tip = (
            base[0] - length * math.cos(turn),
            base[1] + 2 + length * math.sin(turn) * 0.7,
        )
        canvas.stroke([base, tip], dark, 9)
        canvas.stroke([base, tip], skin, 7.5)
        canvas.ellipse(*tip, 2.6, 2.4, nail)
    canvas.stroke([(x + 2, y + 14), (x - 18, y + 24)], skin, 9)


def draw_tool(
    name: str, skin: Colour, sleeve: Colour, look: Look, rng: np.random.Generator
) -> Sprite:
    """A tool with the hand that holds it; `hand` is the bare hand. Anchored where it works."""
    if name == "rolling_pin":
        return _draw_rolling_pin(skin, sleeve, look, rng)
    canvas = Canvas(400, 140)
    handle = palette.choose(((40, 36, 34), (120, 74, 40), (170, 40, 36), (220, 220, 216)), rng)
    grip_at = _TOOLS[name](canvas, WORK_X, WORK_Y, handle, rng)
    draw_hand(canvas, grip_at, WORK_Y, skin, sleeve, grip=name != "hand")
    if name == "jug":  # its handle is in front of the fingers
        edge = [
            (WORK_X + 84, 54),
            (WORK_X + 112, 64),
            (WORK_X + 112, 76),
            (WORK_X + 84, 86),
        ]
        canvas.stroke(edge, palette.shade(METAL, 0.8), 6)
    return canvas.sprite(look, rng, (WORK_X, WORK_Y), relief=0.7)


def _knife(canvas: Canvas, x: Number, y: Number, handle: Colour, rng) -> Number:
    blade = [
        (x - 34, y + 2),
        (x - 10, y - 12),
        (x + 46, y - 12),
        (x + 46, y + 10),
        (x - 20, y + 8),
    ]
    canvas.polygon(blade, METAL)
    edge = [(x - 34, y + 2), (x + 46, y + 4), (x + 46, y + 10), (x - 20, y + 8)]
    canvas.polygon(edge, (236, 240, 244))
    canvas.rectangle(x + 44, y - 9, x + 100, y + 8, 5, handle)
    return x + 74


def _spoon(canvas: Canvas, x: Number, y: Number, handle: Colour, rng) -> Number:
    colour = palette.choose((WOOD, METAL), rng)
    canvas.stroke([(x, y), (x + 110, y)], colour, 7)
    canvas.ellipse(x, y, 21, 14, colour)
    canvas.ellipse(x, y, 15, 9, palette.shade(colour, 0.85))
    return x + 92


def _spatula(canvas: Canvas, x: Number, y: Number, handle: Colour, rng) -> Number:
    blade = palette.choose((METAL, (50, 50, 54)), rng)
    canvas.rectangle(x - 28, y - 24, x + 24, y + 24, 5, blade)
    for slot in (-12, 0, 12):
        canvas.stroke([(x - 16, y + slot), (x + 12, y + slot)], palette.shade(blade, 0.7), 3)
    canvas.stroke([(x + 20, y), (x + 110, y)], handle, 7)
    return x + 92


def _peeler(canvas: Canvas, x: Number, y: Number, handle: Colour, rng) -> Number:
    canvas.polygon([(x - 4, y - 20), (x + 6, y - 20), (x + 8, y + 20), (x - 2, y + 20)], METAL)
    canvas.stroke([(x + 4, y - 18), (x + 26, y)], METAL, 4)
    canvas.stroke([(x + 4, y + 18), (x + 26, y)], METAL, 4)
    canvas.stroke([(x + 26, y), (x + 74, y)], handle, 10)
    return x + 60


def _jug(canvas: Canvas, x: Number, y: Number, handle: Colour, rng) -> Number:
    colour = palette.choose(((226, 228, 232), (170, 200, 214), (206, 120, 80)), rng)
    body = [(0, -10), (20, -26), (80, -28), (92, 0), (80, 28), (20, 26), (0, 6)]
    canvas.polygon([(x + dx, y + dy) for dx, dy in body], colour)
    canvas.ellipse(x + 22, y, 10, 20, palette.shade(colour, 0.7))
    return x + 104


def _bare_hand(canvas: Canvas, x: Number, y: Number, handle: Colour, rng) -> Number:
    return x + 28


_TOOLS: dict[str, Callable[..., Number]] = {
    "knife": _knife,
    "spoon": _spoon,
    "spatula": _spatula,
    "peeler": _peeler,
    "jug": _jug,
    "hand": _bare_hand,
}


def _draw_rolling_pin(skin: Colour, sleeve: Colour, look: Look, rng) -> Sprite:
    canvas = Canvas(300, 200)
    x, y = 150, 40
    colour = palette.choose(((206, 160, 104), (170, 116, 66), (226, 226, 222)), rng)
    canvas.rectangle(x - 70, y - 17, x + 70, y + 17, 10, colour)
    for side in (-1, 1):
        line = [(x + side * 70, y), (x + side * 100, y)]
        canvas.stroke(line, palette.shade(colour, 0.75), 11)
    for row in range(-12, 13, 6):
        canvas.stroke([(x - 64, y + row), (x + 64, y + row)], palette.shade(colour, 0.93), 1.2)
    for side in (-1, 1):
        arm = Canvas(300, 60)
        draw_hand(arm, 24, 30, skin, sleeve, grip=True)
        turned = arm.image.rotate(-90 + 12 * side, Image.Resampling.BILINEAR, expand=True)
        left = round((x + side * 92) * drawing.OVERSAMPLING - turned.width / 2)
        canvas.image.alpha_composite(turned, (max(0, left), (y - 34) * drawing.OVERSAMPLING))
    return canvas.sprite(look, rng, (x, y))


def draw_bread(look: Look, rng: np.random.Generator) -> Sprite:
    """A slice of bread or a round flat loaf, to spread things on."""
    canvas = Canvas(180, 150)
    if rng.random() < 0.5:
        canvas.rectangle(20, 20, 160, 130, 22, (176, 120, 66))
        canvas.rectangle(26, 26, 154, 124, 18, (238, 214, 168))
    else:
        canvas.ellipse(90, 75, 70, 64, (196, 140, 80))
        canvas.ellipse(90, 75, 64, 58, (236, 206, 150))
    return canvas.sprite(look, rng, grain=0.22)
