"""What exists in the kitchen: ingredients, containers, verbs, and their colours."""

import dataclasses
from collections.abc import Iterable

import numpy as np

Colour = tuple[int, int, int]
Number = int | float


@dataclasses.dataclass(frozen=True)
class Ingredient:
    """Colours outside and inside, and the name of the shape that draws it."""

    outside: Colour
    inside: Colour
    shape: str


@dataclasses.dataclass(frozen=True)
class Look:
    """Difficulty of the pictures; 0 leaves a thing out, 1 is the look of the shipped corpus.

    `light` is how much its strength, colour, slope and the darkening of corners change from video
    to video; `colour_jitter` is the largest change of a colour channel of an ingredient.
    """

    texture: Number
    noise: Number
    camera_shake: Number
    light: Number
    clutter: bool
    colour_jitter: int


STANDARD = Look(texture=1.0, noise=1.0, camera_shake=1.0, light=1.0, clutter=True, colour_jitter=8)

INGREDIENTS = {
    "tomato": Ingredient((204, 36, 26), (236, 104, 80), "round"),
    "carrot": Ingredient((236, 118, 20), (252, 164, 66), "tapered"),
    "cucumber": Ingredient((36, 100, 40), (200, 224, 152), "long"),
    "potato": Ingredient((158, 118, 70), (238, 220, 152), "oval"),
    "onion": Ingredient((138, 48, 104), (242, 228, 238), "ringed"),
    "mushroom": Ingredient((204, 184, 156), (242, 234, 220), "mushroom"),
    "cheese": Ingredient((246, 196, 52), (254, 226, 126), "wedge"),
    "dough": Ingredient((236, 214, 170), (242, 226, 194), "disc"),
    "egg": Ingredient((238, 220, 198), (250, 184, 28), "egg"),
    "steak": Ingredient((150, 50, 46), (112, 64, 46), "steak"),
    "fish": Ingredient((150, 172, 196), (240, 186, 166), "fish"),
    "lemon": Ingredient((250, 224, 44), (252, 242, 156), "lemon"),
    "herbs": Ingredient((54, 146, 46), (112, 188, 80), "leaves"),
    "fondant": Ingredient((238, 130, 168), (244, 156, 188), "disc"),
    "marzipan": Ingredient((226, 196, 96), (234, 208, 122), "disc"),
    "cream": Ingredient((246, 243, 234), (255, 255, 250), "liquid"),
    "chocolate": Ingredient((74, 40, 24), (112, 66, 42), "liquid"),
    "sauce": Ingredient((178, 42, 14), (222, 90, 40), "liquid"),
}

MATERIALS = ("wood", "marble", "granite", "steel")  # of worktops
UNSEEN_MATERIALS = ("tiles", "cloth")  # kept for a test of their own
CONTAINERS = ("pan", "bowl", "pot", "plate", "board")

# Verbs that are done to the same things with the same tools: only motion tells them apart.
MOTION_GROUPS = (("stir", "mash", "toss"), ("chop", "slice"), ("knead", "pat"))
# Pairs that people do; the reader of a caption should never wonder.
VERB_OBJECTS = {
    "pour": ("cream", "chocolate", "sauce", "egg", "lemon"),
    "chop": ("tomato", "carrot", "cucumber", "potato", "onion", "mushroom", "herbs", "steak"),
    "slice": (
        ("tomato", "carrot", "cucumber", "potato", "onion")
        + ("mushroom", "cheese", "lemon", "steak", "fish")
    ),
    "stir": (
        ("cream", "chocolate", "sauce", "egg", "potato")
        + ("tomato", "carrot", "mushroom", "onion", "herbs")
    ),
    "mash": ("potato", "tomato", "carrot", "egg"),
    "toss": ("potato", "tomato", "carrot", "mushroom", "onion", "herbs", "cucumber"),
    "add": (
        ("tomato", "carrot", "cucumber", "potato", "onion", "mushroom")
        + ("cheese", "egg", "herbs", "steak", "fish", "lemon")
    ),
    "flip": ("egg", "steak", "fish", "cheese"),
    "spread": ("cream", "chocolate", "sauce", "cheese"),
    "peel": ("carrot", "cucumber", "potato", "onion", "lemon", "tomato"),
    "roll": ("dough", "fondant", "marzipan"),
    "sprinkle": ("cheese", "herbs", "chocolate", "lemon", "onion"),
    "knead": ("dough", "fondant", "marzipan"),
    "pat": ("dough", "fondant", "marzipan", "steak", "fish"),
}
# Kept for a test of their own, and neither shown nor told in any other split: every verb and every
# object is here, and each is also seen with others.
UNSEEN_PAIRS = frozenset(
    {
        ("pour", "cream"),
        ("chop", "carrot"),
        ("chop", "mushroom"),
        ("slice", "onion"),
        ("slice", "cheese"),
        ("slice", "lemon"),
        ("stir", "tomato"),
        ("stir", "egg"),
        ("mash", "carrot"),
        ("toss", "potato"),
        ("add", "herbs"),
        ("add", "fish"),
        ("flip", "steak"),
        ("spread", "sauce"),
        ("peel", "cucumber"),
        ("roll", "fondant"),
        ("sprinkle", "chocolate"),
        ("knead", "marzipan"),
        ("pat", "dough"),
    }
)
VERB_CONTAINERS = {
    "pour": ("pan", "bowl", "pot"),
    "chop": ("board", "plate"),
    "slice": ("board", "plate"),
    "stir": ("pan", "bowl", "pot"),
    "mash": ("pan", "bowl", "pot"),
    "toss": ("pan", "bowl", "pot"),
    "add": ("pan", "bowl", "pot", "plate"),
    "flip": ("pan",),
    "spread": ("plate", "board"),
    "peel": ("board", "plate"),
    "roll": ("board",),
    "sprinkle": ("pan", "bowl", "plate", "board"),
    "knead": ("board", "bowl"),
    "pat": ("board", "bowl", "plate"),
}
# A tool serves several verbs, so that a single frame does not give the verb away.
VERB_TOOLS = {
    "pour": ("jug",),
    "chop": ("knife",),
    "slice": ("knife",),
    "stir": ("spoon",),
    "mash": ("spoon",),
    "toss": ("spoon",),
    "add": ("hand",),
    "flip": ("spatula",),
    "spread": ("knife", "spoon"),
    "peel": ("peeler",),
    "roll": ("rolling_pin",),
    "sprinkle": ("hand",),
    "knead": ("hand",),
    "pat": ("hand",),
}
# Recipes go from one stage to the next, more or less: what is cut comes before what is stirred.
VERB_STAGES = {
    "peel": 0,
    "knead": 0,
    "chop": 1,
    "slice": 1,
    "pat": 1,
    "roll": 1,
    "pour": 2,
    "add": 2,
    "stir": 3,
    "mash": 3,
    "toss": 3,
    "flip": 4,
    "spread": 4,
    "sprinkle": 5,
}
TWO_HANDED = ("chop", "slice", "peel", "knead", "pat")
VERBS = tuple(VERB_OBJECTS)
OBJECTS = tuple(INGREDIENTS)

SKINS = ((240, 200, 172), (224, 172, 136), (190, 132, 96), (140, 92, 64), (96, 62, 46))
METAL = (206, 210, 216)
WOOD = (196, 150, 96)


def as_colour(channels: Iterable[Number]) -> Colour:
    """Three channels as whole numbers from 0 to 255."""
    red, green, blue = (min(255, max(0, int(channel))) for channel in channels)
    return red, green, blue


def shade(colour: Colour, factor: Number) -> Colour:
    """Colour made darker (factor < 1) or lighter."""
    return as_colour(channel * factor for channel in colour)


def jitter(colour: Colour, amount: int, rng: np.random.Generator) -> Colour:
    """Colour with every channel moved by at most `amount`."""
    return as_colour((np.asarray(colour) + rng.integers(-amount, amount + 1, 3)).tolist())


def choose(options, rng: np.random.Generator):
    """One of the options."""
    return options[int(rng.integers(len(options)))]
