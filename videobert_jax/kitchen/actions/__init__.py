"""What hands do: for each verb a function that draws one moment of a scene."""

from collections.abc import Callable

from videobert_jax.kitchen.actions import blade, surface, vessel

# Each takes (scene, picture to draw on, seconds since the step began).
ACTIONS: dict[str, Callable] = {
    "pour": vessel.pour,
    "chop": blade.chop,
    "slice": blade.slice_up,
    "stir": vessel.stir,
    "mash": vessel.mash,
    "toss": vessel.toss,
    "add": vessel.add,
    "flip": surface.flip,
    "spread": surface.spread,
    "peel": blade.peel,
    "roll": surface.roll,
    "sprinkle": vessel.sprinkle,
    "knead": surface.knead,
    "pat": surface.pat,
}
