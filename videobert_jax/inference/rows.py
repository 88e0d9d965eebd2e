"""Inputs of one kind packed into rows, several one behind another, as training packs examples.

Of inputs of many lengths, most of a row that holds one alone is padding: 64 videos of 2 to 43 clips
fill a fifth of rows of 64.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, Shaped

from videobert_jax.inference.inputs import Side, row_length

MOST_INPUTS = 16  # a row
# Rows of a call: few numbers, so that few programs are compiled, and no third of a call is padding.
NUM_ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 28, 32)


class Places(NamedTuple):
    """Where each of k inputs stands: its row, its number in the row, and its first slot."""

    row: Int[np.ndarray, " k"]
    number: Int[np.ndarray, " k"]
    start: Int[np.ndarray, " k"]


def most_inputs(length: int) -> int:
    """Of a row of so many slots; a program gives so many vectors a row."""
    return min(length, MOST_INPUTS)


def packed(lengths: Int[np.ndarray, " k"], length: int) -> Places:
    """Places in rows of `length` slots: the longest input first, each in the first row that has
    room for it (first fit decreasing)."""
    room, count = np.full(len(lengths), length), np.zeros(len(lengths), np.int64)
    row, number, start = np.zeros((3, len(lengths)), np.int64)
    for chosen in np.argsort(-lengths, kind="stable"):
        fits = (room >= lengths[chosen]) & (count < most_inputs(length))
        first = int(fits.argmax())
        row[chosen], number[chosen] = first, count[first]
        start[chosen] = length - room[first]
        room[first] -= lengths[chosen]
        count[first] += 1
    return Places(row, number, start)


def vectors(
    function: Callable[..., tuple[jax.Array]], variables: Any, side: Side
) -> Float[np.ndarray, "k j"]:
    """A vector an input, in their order. `function` takes rows, with segment ids and positions, and
    gives `most_inputs` vectors a row."""
    length = row_length(side.longest, side.maximum_length)
    places = packed(np.array([len(values) for values in side.inputs]), length)
    by_row = np.argsort(places.row, kind="stable")
    rows = places.row[by_row]
    parts = []
    for first in range(0, int(rows[-1]) + 1, NUM_ROWS[-1]):
        begin, end = np.searchsorted(rows, (first, first + NUM_ROWS[-1]))
        chosen = by_row[begin:end]
        of_call = Places(places.row[chosen] - first, places.number[chosen], places.start[chosen])
        (told,) = function(variables, *_laid_out([side.inputs[i] for i in chosen], of_call, length))
        parts.append(np.asarray(told)[of_call.row, of_call.number])
    joined = np.concatenate(parts)
    out = np.empty_like(joined)
    out[by_row] = joined
    return out


def _laid_out(
    inputs: list[np.ndarray], places: Places, length: int
) -> tuple[Shaped[np.ndarray, "b n *c"], Int[np.ndarray, "b n"], Int[np.ndarray, "b n"]]:
    """(inputs in rows, their segment ids, their positions)."""
    used = int(places.row.max()) + 1
    num_rows = next(number for number in NUM_ROWS if number >= used)
    values = np.zeros((num_rows, length, *inputs[0].shape[1:]), inputs[0].dtype)
    segments, positions = np.zeros((2, num_rows, length), np.int32)
    for of, row, number, start in zip(inputs, *places, strict=True):
        at = row, slice(start, start + len(of))
        values[at], segments[at], positions[at] = of, number + 1, np.arange(len(of))
    return values, segments, positions
