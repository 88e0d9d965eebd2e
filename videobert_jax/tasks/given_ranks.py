"""Ranks of the right candidates by another system: from files, in the order of a split's examples.

A file of lines (.jsonl) has an object an example, with its `example_id` and `text_to_video_rank`,
`video_to_text_rank` or both, as the lines beside a result of retrieval have them. A .npy of one
dimension has the ranks of one direction. A rank is a number from 1; ties may make halves.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int, Shaped

from videobert_jax.data.index import Split
from videobert_jax.files import storage
from videobert_jax.tasks import example_lines, retrieval
from videobert_jax.tasks.errors import EvaluationError

LINES = ".jsonl"


def read(
    file: storage.Path, split: Split, ids: Int[np.ndarray, " n"]
) -> dict[str, Float[np.ndarray, " n"]]:
    """{direction: rank of each of the examples `ids`} of a file of lines.

    Raises EvaluationError where lines are of other examples, two of one, or without a rank that
    can be.
    """
    lines = example_lines.read(file, split)
    places = example_lines.places(file, [one for one, _ in lines], split, ids)
    keys = {way: f"{way}_rank" for way in retrieval.DIRECTIONS}
    told = {way: key for way, key in keys.items() if any(key in line for _, line in lines)}
    if not told:
        raise EvaluationError(
            f"{file}: no line has {' or '.join(keys.values())}; expected one of them, or both, in "
            "every line."
        )
    return {
        way: checked(file, np.array([_number(file, lines[p][1], p, key) for p in places.tolist()]))
        for way, key in told.items()
    }


def checked(file: storage.Path, ranks: Shaped[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Ranks as float64. Raises EvaluationError where one is none among as many candidates."""
    values = ranks.astype(np.float64)
    wrong = np.flatnonzero(~((values >= 1) & (values <= len(values))))  # also of NaN
    if len(wrong):
        raise EvaluationError(
            f"{file}: {len(wrong)} of the {len(values)} ranks are none among {len(values)} "
            f"candidates, the first is {values[wrong[0]]:g}; expected numbers from 1 to "
            f"{len(values)}."
        )
    return values


def _number(file: storage.Path, line: Mapping, place: int, key: str) -> float:
    value = line.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise EvaluationError(
            f"{file}, line {place + 1}: {key} is {value!r}; expected the rank of the example."
        )
    return float(value)
