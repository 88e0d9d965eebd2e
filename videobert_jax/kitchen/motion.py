"""How things move: rhythms, cycles and paths as functions of time alone."""

import dataclasses
import math

from videobert_jax.kitchen.palette import Number

TURN = 2 * math.pi


@dataclasses.dataclass(frozen=True)
class Rhythm:
    """The pace of a pair of hands: `tempo` in strokes a second, `phase` in strokes, `reach` 1."""

    tempo: Number
    phase: Number
    reach: Number

    def angle(self, seconds: Number, rate: Number = 1.0) -> float:
        """Radians gone through at `rate` times the tempo."""
        return TURN * (self.tempo * rate * seconds + self.phase)

    def swing(self, seconds: Number, rate: Number = 1.0, lag: Number = 0.0) -> float:
        """To and fro in [-1, 1]; `lag` in radians."""
        return math.sin(self.angle(seconds, rate) + lag)

    def cycle(self, seconds: Number, length: Number) -> tuple[int, float]:
        """(number of the stroke, share of it done); a stroke takes `length / tempo` seconds."""
        strokes = seconds * self.tempo / length + self.phase
        return int(strokes), strokes - int(strokes)


def visit(share: Number, until: Number = 0.87) -> float:
    """Nearness of a hand that comes and goes once a cycle: 0 away, 1 there."""
    if share >= until:
        return 0.0
    return math.sin(math.pi * share / until) ** 0.7


def between(share: Number, start: Number, end: Number) -> float:
    """Progress through a part of a cycle, from 0 before to 1 after it."""
    return min(1.0, max(0.0, (share - start) / (end - start)))


def blend(first: Number, second: Number, share: Number) -> float:
    """From `first` (0) to `second` (1)."""
    return first + (second - first) * share
