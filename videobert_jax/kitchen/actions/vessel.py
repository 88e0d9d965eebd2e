"""Pouring, stirring, mashing, tossing, adding and sprinkling: what is done into a container."""

import math

from PIL import Image, ImageDraw

from videobert_jax.kitchen import motion, palette
from videobert_jax.kitchen.palette import Number
from videobert_jax.kitchen.scene import PIECE_KINDS, PLACES, SPECKS, Scene

GOLDEN_SHARE = 0.381966  # of a turn: places that follow each other this far apart fill a circle


def pour(scene: Scene, picture: Image.Image, seconds: Number) -> None:
    """A jug tips, a stream falls, the pool below grows and ripples."""
    rhythm, done = scene.rhythm, scene.progress(seconds)
    colour = scene.liquid_colour
    scene.pool.paste(picture, scene.x, scene.y, 40 * seconds, 0.4 + 0.45 * min(1, 0.2 + done))
    x = scene.x + 32 + 4 * rhythm.swing(seconds) * rhythm.reach
    y = scene.y - 66 + 5 * rhythm.swing(seconds, 0.7) * rhythm.reach
    draw = ImageDraw.Draw(picture)
    path = []
    for index in range(9):
        fall = index / 8
        wobble = 3 * rhythm.reach * math.sin(7 * fall + 14 * seconds) * fall
        path.append((x - 32 * fall + wobble, y + 66 * fall * (0.5 + 0.5 * fall) + 2))
    widths = [8 - 3 * i / 8 + 1.2 * math.sin(1.7 * i - 18 * seconds) for i in range(9)]
    left = [(px - width, py) for (px, py), width in zip(path, widths, strict=True)]
    right = [(px + width, py) for (px, py), width in zip(path, widths, strict=True)]
    draw.polygon(left + right[::-1], fill=colour)
    draw.line(path, fill=palette.shade(colour, 1.25), width=2)
    for ripple in range(2):
        radius = 28 * ((1.6 * seconds + 0.5 * ripple) % 1)
        box = [scene.x - radius, scene.y + 4 - 0.8 * radius]
        box += [scene.x + radius, scene.y + 4 + 0.8 * radius]
        draw.ellipse(box, outline=palette.shade(colour, 1.2))
    tip = 18 + 14 * rhythm.swing(seconds, 0.5) * rhythm.reach + 10 * done
    scene.tool.paste(picture, x, y, tip, scene.size)


def stir(scene: Scene, picture: Image.Image, seconds: Number) -> None:
    """The spoon goes round and takes the content with it."""
    angle = scene.rhythm.angle(seconds, 1.1)
    _fill(scene, picture, 0.6 * angle)
    _dip(scene, picture, angle, _spoon_radius(scene), 1.0)


def mash(scene: Scene, picture: Image.Image, seconds: Number) -> None:
    """The spoon is pressed down three times in one place, then in another."""
    strokes, share = scene.rhythm.cycle(seconds, 0.5)
    place = strokes // 3
    down = math.sin(math.pi * share)
    _fill(scene, picture, motion.TURN * scene.rhythm.phase + 0.05 * down)
    angle = motion.TURN * (scene.rhythm.phase + GOLDEN_SHARE * place)
    _dip(scene, picture, angle, _spoon_radius(scene), 1.16 - 0.24 * down)


def toss(scene: Scene, picture: Image.Image, seconds: Number) -> None:
    """The spoon runs through the middle from side to side and lifts at each end."""
    swing = scene.rhythm.swing(seconds, 0.9)
    _fill(scene, picture, motion.TURN * scene.rhythm.phase + 0.12 * swing)
    radius = 1.15 * _spoon_radius(scene) * swing
    _dip(scene, picture, motion.TURN * scene.rhythm.phase, radius, 0.96 + 0.12 * abs(swing))


def _spoon_radius(scene: Scene) -> float:
    return (26 if scene.step.container == "bowl" else 32) * scene.rhythm.reach * scene.size


def _fill(scene: Scene, picture: Image.Image, turn: Number) -> None:
    """The content of the container, turned by `turn` radians."""
    if palette.INGREDIENTS[scene.step.object].shape in ("liquid", "egg"):
        scene.pool.paste(picture, scene.x, scene.y, -math.degrees(turn), 0.85)
    else:
        scene.scatter(picture, 20, 46, turn)


def _dip(scene: Scene, picture: Image.Image, angle: Number, radius: Number, height: Number):
    """The spoon at `radius` from the middle, in the direction `angle`."""
    x = scene.x + radius * math.cos(angle)
    y = scene.y + 0.85 * radius * math.sin(angle)
    turn = scene.arm_angle + 14 * math.sin(angle)
    scene.tool.paste(picture, x, y, turn, scene.size * height)


def add(scene: Scene, picture: Image.Image, seconds: Number) -> None:
    """A hand comes with two pieces, drops them and leaves, again and again."""
    visits, share = scene.rhythm.cycle(seconds, 1.25)
    nearness = motion.visit(share)
    scene.scatter(picture, 2 + 2 * visits, 42)
    reach = nearness * min(1.0, scene.rhythm.reach + 0.2)
    x, y = scene.x + 150 - 135 * reach, scene.y + 90 - 95 * reach
    for index in (0, 1):
        piece = scene.pieces[(2 * visits + index) % PIECE_KINDS]
        if share < 0.45:
            piece.paste(picture, x - 16 + 9 * index, y - 6 + 8 * index, 0, 1.1)
        elif share < 0.6:
            fall = motion.between(share, 0.45, 0.6)
            across, down = scene.places[(2 + 2 * visits + index) % PLACES]
            piece.paste(
                picture,
                motion.blend(scene.x - 2, scene.x + 42 * across, fall),
                motion.blend(scene.y - 10, scene.y + 42 * down, fall),
                90 * fall,
                motion.blend(1.1, 1.0, fall),
            )
    scene.tool.paste(picture, x, y, -38, scene.size * (1 + 0.12 * (1 - nearness)))


def sprinkle(scene: Scene, picture: Image.Image, seconds: Number) -> None:
    """A trembling hand wanders over the food; crumbs fall and stay."""
    rhythm = scene.rhythm
    if scene.step.container != "bowl":
        scene.style.toast.paste(picture, scene.x, scene.y, 0, scene.size)
    draw = ImageDraw.Draw(picture)
    colours = (scene.outside, scene.outside, scene.inside)
    for index in range(int(50 + 230 * scene.progress(seconds))):
        far, around, across, down = scene.specks[index % SPECKS]
        radius, turn = 48 * math.sqrt(far), motion.TURN * around
        x = scene.x + radius * math.cos(turn)
        y = scene.y + 0.9 * radius * math.sin(turn)
        end = (x + 5 * across + 1, y + 6 * down - 2)
        draw.line([(x, y), end], fill=colours[index % 3], width=3)
    tremble = 5 * math.sin(26 * seconds)
    x = scene.x + 26 * rhythm.swing(seconds, 0.8) * rhythm.reach + tremble
    y = scene.y - 16 + 14 * rhythm.swing(seconds, 0.6, 1.57) * rhythm.reach
    for index in range(28):
        start, across, down, slant = scene.specks[index]
        fallen = (2.2 * seconds + start) % 1
        left = x - 14 + (across - 0.5) * (18 + 26 * fallen)
        top = y + 4 + (down - 0.3) * (10 + 30 * fallen) + 26 * fallen**2
        end = (left + 2 * slant, top + 6 + 5 * fallen)
        draw.line([(left, top), end], fill=colours[index % 3], width=3)
    scene.tool.paste(picture, x - 12, y, -34 + 5 * math.sin(26 * seconds), scene.size * 1.05)
