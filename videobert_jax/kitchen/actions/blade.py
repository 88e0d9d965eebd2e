"""Chopping, slicing and peeling."""

import math

import numpy as np
from PIL import Image, ImageDraw

from videobert_jax.kitchen import motion
from videobert_jax.kitchen.palette import Number
from videobert_jax.kitchen.scene import OBJECT_SCALE, PIECE_KINDS, Scene

KNIFE_ANGLE = -76  # degrees; its handle points down and a little to the right


def chop(scene: Scene, picture: Image.Image, seconds: Number) -> None:
    """The knife goes up and down from left to right; slices stay behind it."""
    lift = 0.5 + 0.5 * scene.rhythm.swing(seconds, 2.2)
    _cut(scene, picture, seconds, 2 * lift, 22 * (0.3 - lift), lift)


def slice_up(scene: Scene, picture: Image.Image, seconds: Number) -> None:
    """The same with a knife that is drawn to and fro, like a saw."""
    drawn = scene.rhythm.swing(seconds, 1.1)
    angle = math.radians(-KNIFE_ANGLE)
    along, across = 15 * drawn * math.cos(angle), 15 * drawn * math.sin(angle)
    _cut(scene, picture, seconds, along, across - 4, 0.35)


def _cut(scene: Scene, picture: Image.Image, seconds: Number, x: Number, y: Number, lift: Number):
    """Food cut as far as the step is done; the knife stands `x`, `y` from the cut, and higher."""
    size, rhythm = scene.size, scene.rhythm
    length = 92 * size * OBJECT_SCALE
    done = 0.12 + 0.7 * scene.progress(seconds)
    edge = scene.x - length / 2 + length * done
    slices = int(done * 11)
    for index in range(slices):
        left = scene.x - length / 2 - 14 + index * (length * done + 4) / max(slices, 1)
        top = scene.y + 5 * scene.places[index][1]
        scene.pieces[index % PIECE_KINDS].paste(picture, left, top, 0, size)
    whole, anchor_x, anchor_y = scene.whole.placed(0, size)
    left, top = round(scene.x - anchor_x), round(scene.y - anchor_y)
    hidden = max(0, int(edge) - left)
    if hidden < whole.width:
        rest = whole.crop((hidden, 0, whole.width, whole.height))
        picture.paste(rest, (left + hidden, top), rest)
    held = min(edge + 42, scene.x + 62)
    swing = 3 * rhythm.swing(seconds)
    scene.free_hands[0].paste(picture, held, scene.y - 6, -20 + swing, size)
    scene.tool.paste(
        picture,
        edge + 2 + x,
        scene.y + 8 + y * rhythm.reach,
        KNIFE_ANGLE + 8 * lift * rhythm.reach,
        size * (1 + 0.1 * lift * rhythm.reach),
    )


def peel(scene: Scene, picture: Image.Image, seconds: Number) -> None:
    """Strip after strip comes off from right to left and falls below."""
    size, reach = scene.size, scene.rhythm.reach
    strokes, share = scene.rhythm.cycle(seconds, 0.75)
    whole, anchor_x, anchor_y = scene.whole.placed(12, size)
    corner = (round(scene.x - anchor_x), round(scene.y - anchor_y))
    picture.paste(whole, corner, whole)
    opened, middle_x, middle_y = scene.opened.placed(12, size)
    stripped = min(6, 1 + int(6 * scene.progress(seconds)))
    pulled = min(1.0, share / 0.6)
    mask = _strips(scene, opened, middle_x, middle_y, stripped, pulled)
    picture.paste(opened, (round(scene.x - middle_x), round(scene.y - middle_y)), mask)
    draw = ImageDraw.Draw(picture)
    for index in range(min(10, strokes)):
        across, down = scene.places[index]
        x, y, start = (
            scene.x - 25 + 34 * across,
            scene.y + 56 + 12 * down,
            scene.specks[index][0],
        )
        box = [x - 17, y - 9, x + 17, y + 9]
        draw.arc(box, start * 180, start * 180 + 220, fill=scene.outside, width=5)
    holding = 172 + 4 * scene.rhythm.swing(seconds)
    scene.free_hands[0].paste(picture, scene.x - 66, scene.y + 4, holding, size)
    span = 52 * size
    going = motion.blend(span, -span, pulled) if share < 0.6 else 0.0
    coming = motion.blend(-span, span, (share - 0.6) / 0.4) if share >= 0.6 else 0.0
    y = scene.y - 22 * size + (stripped - 1) * 9.5 * size - (0 if share < 0.6 else 10)
    lifted = 1.0 if share < 0.6 else 1.06
    scene.tool.paste(picture, scene.x + (going + coming) * reach, y, -22, size * lifted)


def _strips(scene: Scene, opened: Image.Image, x, y, count: int, pulled: Number) -> Image.Image:
    """Mask of the peeled strips, the last of which is pulled so far only."""
    mask = Image.new("L", opened.size, 0)
    draw, size = ImageDraw.Draw(mask), scene.size
    for index in range(count):
        share = 1.0 if index < count - 1 else pulled
        row = y - 22 * size + index * 9.5 * size
        right, slope = x + 54 * size, math.tan(math.radians(12)) * 54 * size
        ends = [
            (right, row - slope),
            (right - 108 * size * share, row - slope + 2 * slope * share),
        ]
        draw.line(ends, fill=255, width=int(9 * size))
    return Image.fromarray(np.minimum(np.asarray(mask), np.asarray(opened.getchannel("A"))))
