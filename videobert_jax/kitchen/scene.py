"""A step of a recipe, set up: every picture it needs, drawn once, and its rhythm."""

import dataclasses

import numpy as np
from PIL import Image, ImageDraw

from videobert_jax.kitchen import ingredients, palette, utensils
from videobert_jax.kitchen.corpus import Step
from videobert_jax.kitchen.counter import WORLD, VideoStyle
from videobert_jax.kitchen.drawing import Sprite
from videobert_jax.kitchen.motion import Rhythm
from videobert_jax.kitchen.palette import Colour, Look, Number

CENTRE_X, CENTRE_Y = 128, 134
OBJECT_SCALE = 1.25  # large objects and small hands: what is handled stays in sight
TOOL_SCALE = 0.8
PIECE_KINDS = 6
PLACES = 60
SPECKS = 400


@dataclasses.dataclass(frozen=True)
class Scene:
    """The pictures and numbers of one step; `actions` draws from it, and never draws at random."""

    step: Step
    style: VideoStyle
    look: Look
    table: Image.Image  # counter and container
    x: Number  # middle of the container
    y: Number
    rhythm: Rhythm
    arm_angle: Number
    size: Number
    outside: Colour
    inside: Colour
    tool: Sprite
    free_hands: tuple[Sprite, ...]  # one where the verb takes two hands
    whole: Sprite
    opened: Sprite
    pieces: tuple[Sprite, ...]
    places: np.ndarray  # [PLACES, 2] within the unit circle, more in the middle
    specks: np.ndarray  # [SPECKS, 4] in [0, 1]
    pool: Sprite
    bread: Sprite

    def progress(self, seconds: Number) -> float:
        """Share of the step that is done."""
        return min(1.0, seconds / self.step.seconds)

    @property
    def liquid_colour(self) -> Colour:
        """Colour of the ingredient when it is poured: an egg and a lemon show their inside."""
        return self.inside if self.step.object in ("egg", "lemon") else self.outside

    def scatter(self, picture: Image.Image, count: int, radius: Number, turn: Number = 0.0) -> None:
        """Draws pieces lying about in the container, turned as a whole by `turn` radians."""
        cosine, sine = np.cos(turn), np.sin(turn)
        angle = -np.degrees(turn)
        for index in range(min(count, PLACES)):
            across, down = self.places[index]
            x = self.x + radius * (across * cosine - down * sine)
            y = self.y + radius * (across * sine + down * cosine)
            self.pieces[index % PIECE_KINDS].paste(picture, x, y, angle)

    def dust(self, picture: Image.Image, count: int, radius: Number, colour: Colour) -> None:
        """Draws crumbs or flour around the middle."""
        draw = ImageDraw.Draw(picture)
        for across, down in self.places[:count]:
            x, y = self.x + radius * across, self.y + radius * 0.7 * down
            draw.rectangle([x, y, x + 1, y + 1], fill=colour)


def set_up(step: Step, style: VideoStyle, look: Look, rng: np.random.Generator) -> Scene:
    """The scene of a step, drawn at random within a video's style."""
    ingredient = palette.INGREDIENTS[step.object]
    outside = palette.jitter(ingredient.outside, look.colour_jitter, rng)
    inside = palette.jitter(ingredient.inside, look.colour_jitter, rng)
    x, y = CENTRE_X + int(rng.integers(-9, 10)), CENTRE_Y + int(rng.integers(-9, 10))
    rhythm = Rhythm(rng.uniform(0.8, 1.3), rng.random(), rng.uniform(0.85, 1.15))
    whole, opened = _draw_wholes(step, outside, inside, look, rng)
    tool = utensils.draw_tool(step.tool, style.skin, style.sleeve, look, rng)
    free_hands: tuple[Sprite, ...] = ()
    if step.verb in palette.TWO_HANDED:
        hand = utensils.draw_tool("hand", style.skin, style.sleeve, look, rng)
        free_hands = (hand.resized(TOOL_SCALE),)
    places = rng.normal(size=(PLACES, 2))
    places /= np.maximum(1, np.linalg.norm(places, axis=1, keepdims=True) / 1.2)
    liquid = inside if step.object in ("egg", "lemon") else outside
    return Scene(
        step=step,
        style=style,
        look=look,
        table=_lay_table(step.container, style, x, y, look, rng),
        x=x,
        y=y,
        rhythm=rhythm,
        arm_angle=rng.uniform(-55, -15),
        size=rng.uniform(0.94, 1.08),
        outside=outside,
        inside=inside,
        tool=tool.resized(TOOL_SCALE),
        free_hands=free_hands,
        whole=whole.resized(OBJECT_SCALE),
        opened=opened.resized(OBJECT_SCALE),
        pieces=tuple(
            ingredients.draw_piece(step.object, outside, inside, look, rng).resized(OBJECT_SCALE)
            for _ in range(PIECE_KINDS)
        ),
        places=places,
        specks=rng.random((SPECKS, 4)),
        pool=ingredients.draw_pool(liquid, rng),
        bread=utensils.draw_bread(look, rng),
    )


def _lay_table(container: str, style: VideoStyle, x, y, look: Look, rng) -> Image.Image:
    table = style.counter.copy()
    if table.size != (WORLD, WORLD):
        raise ValueError(f"the counter is {table.size} pixels, expected {WORLD} x {WORLD}")
    angle = 0 if container == "board" else int(rng.integers(-6, 7)) * 4
    utensils.draw_container(container, look, rng).paste(table, x, y, angle)
    return table


def _draw_wholes(step: Step, outside: Colour, inside: Colour, look: Look, rng):
    """The ingredient as the step finds it, and as it leaves it (peeled, or browned below)."""
    name, fried_egg = step.object, step.object == "egg" and step.verb == "flip"
    whole = ingredients.draw_whole(name, outside, inside, look, rng, opened=fried_egg)
    if step.verb == "flip":
        browned = palette.as_colour(0.62 * channel + 20 for channel in outside)
        core = palette.shade(inside, 0.8)
        opened = ingredients.draw_whole(name, browned, core, look, rng, opened=fried_egg)
    else:
        opened = ingredients.draw_whole(
            name, palette.shade(outside, 0.7), inside, look, rng, opened=True
        )
    return whole, opened
