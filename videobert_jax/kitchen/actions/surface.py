"""Flipping, spreading, rolling, kneading and patting: what is done to food that lies flat."""

import math

import numpy as np
from PIL import Image, ImageDraw

from videobert_jax.kitchen import motion
from videobert_jax.kitchen.counter import WORLD
from videobert_jax.kitchen.palette import Number
from videobert_jax.kitchen.scene import Scene

SMEAR_SECONDS = 0.05  # the smear is drawn through the tool's places this far apart
FLOUR = (246, 240, 226)


def flip(scene: Scene, picture: Image.Image, seconds: Number) -> None:
    """The spatula slides under, throws the food over and draws back."""
    size = scene.size
    flips, share = scene.rhythm.cycle(seconds, 1.7)
    reach = min(1.0, scene.rhythm.reach + 0.2)
    inward, thrown = motion.between(share, 0, 0.35), motion.between(share, 0.35, 0.75)
    backward = motion.between(share, 0.75, 1)
    lift = math.sin(math.pi * thrown) * scene.rhythm.reach
    height = math.cos(math.pi * thrown)  # below 0 the other side is up
    top = scene.whole if (height > 0) == (flips % 2 == 0) else scene.opened
    tool_x = scene.x + 110 - 100 * inward * reach + 100 * backward
    grown = size * (1 + 0.3 * lift)
    tilt = 16 * math.sin(motion.TURN * scene.rhythm.phase + flips) + 12 * lift
    scene.dust(picture, 10, 62, (236, 226, 190))
    if share < 0.75:
        angle = -28 + 20 * lift
        scene.tool.paste(picture, tool_x, scene.y + 14 - 34 * lift, angle, size * (1 + 0.2 * lift))
    top.paste(
        picture,
        scene.x,
        scene.y - 42 * lift,
        tilt,
        grown,
        max(0.12, abs(height)) * grown,
    )
    if share >= 0.75:
        scene.tool.paste(picture, tool_x, scene.y + 14, -28, size)


def spread(scene: Scene, picture: Image.Image, seconds: Number) -> None:
    """The tool goes to and fro over the bread, row after row, and leaves a smear."""
    size, rhythm = scene.size, scene.rhythm
    scene.bread.paste(picture, scene.x, scene.y, 0, size)
    moments = np.arange(0, seconds + SMEAR_SECONDS + 0.01, SMEAR_SECONDS)
    done = np.minimum(1, (moments + 0.6) / (scene.step.seconds + 0.6))
    turns = motion.TURN * (rhythm.tempo * moments + rhythm.phase)
    across = scene.x + 46 * size * rhythm.reach * np.sin(turns)
    down = scene.y - 38 * size + 76 * size * done
    mask = Image.new("L", (WORLD, WORLD), 0)
    draw = ImageDraw.Draw(mask)
    draw.line(
        list(zip(across, down, strict=True)),
        fill=255,
        width=int(30 * size),
        joint="curve",
    )
    for x, y in ((across[0], down[0]), (across[-1], down[-1])):
        draw.ellipse([x - 15, y - 15, x + 15, y + 15], fill=255)
    layer = Image.new("RGB", (WORLD, WORLD), scene.outside)
    pool, anchor_x, anchor_y = scene.pool.placed()
    corner = (round(scene.x - anchor_x), round(scene.y - anchor_y))
    layer.paste(pool.convert("RGB"), corner, pool)
    picture.paste(layer, (0, 0), mask)
    angle = -50 + 26 * math.cos(turns[-1]) * rhythm.reach
    scene.tool.paste(picture, across[-1], down[-1], angle, size)


def roll(scene: Scene, picture: Image.Image, seconds: Number) -> None:
    """The pin goes up and down; the food becomes larger and flatter."""
    flatness = 0.7 + 0.45 * scene.progress(seconds)
    swing = scene.rhythm.swing(seconds, 0.9)
    scene.dust(picture, 24, 84, FLOUR)
    width = scene.size * flatness * 1.15
    scene.whole.paste(picture, scene.x, scene.y, 0, width, 0.9 * width * (1 + 0.06 * swing))
    scene.tool.paste(
        picture,
        scene.x,
        scene.y - 6 + 38 * scene.rhythm.reach * swing,
        0,
        scene.size * 1.1,
    )


def knead(scene: Scene, picture: Image.Image, seconds: Number) -> None:
    """Two hands push by turns; the food gives way."""
    rhythm, reach = scene.rhythm, scene.rhythm.reach
    push, other = rhythm.swing(seconds), rhythm.swing(seconds, lag=0.9)
    scene.dust(picture, 20, 80, FLOUR)
    width = 1.15 * scene.size * (1 + 0.16 * push * reach)
    height = 1.15 * scene.size * (1 - 0.18 * push * reach)
    x, y = scene.x + 4 * push * reach, scene.y + 6 - 4 * push * reach
    scene.whole.paste(picture, x, y, 8 * push, width, height)
    scene.tool.paste(
        picture,
        scene.x + 24,
        scene.y - 2 + 22 * push * reach,
        -62 + 6 * push,
        scene.size,
    )
    scene.free_hands[0].paste(
        picture,
        scene.x - 24,
        scene.y + 4 + 22 * other * reach,
        -118 - 6 * push,
        scene.size,
    )


def pat(scene: Scene, picture: Image.Image, seconds: Number) -> None:
    """Two hands come down together, again and again; the food hardly gives way."""
    rhythm, reach = scene.rhythm, scene.rhythm.reach
    lift = abs(rhythm.swing(seconds, 0.75)) * reach
    wander = 8 * rhythm.swing(seconds, 0.3)
    scene.dust(picture, 20, 80, FLOUR)
    width = 1.15 * scene.size * (1 + 0.03 * (1 - lift))
    scene.whole.paste(picture, scene.x, scene.y + 6, 0, width)
    size = scene.size * (0.94 + 0.2 * lift)
    y = scene.y + 12 + wander - 26 * lift
    scene.tool.paste(picture, scene.x + 24, y, -62, size)
    scene.free_hands[0].paste(picture, scene.x - 24, y + 4, -118, size)
