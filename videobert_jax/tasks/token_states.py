"""What towers say of every piece and clip: kept where it is little, and made again where it is not.

Of 100,000 examples it is many times the embeddings, and re-ranking needs it of few pairs at a time.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int, Shaped

from videobert_jax.data import device_feed
from videobert_jax.data.block import EvaluationBuilder

KEPT_BYTES = 512 << 20  # of both sides of a split; above it they are made again when asked for
GROUP_BYTES = 192 << 20  # of what is made at a time


@dataclasses.dataclass(frozen=True, eq=False)
class TokenStates:
    """One tower's states of examples, made when rows are asked for: `states[rows]` is `[n, l, d]`.

    function: from variables and a batch to its example ids and states, rows on the host.
    """

    builder: EvaluationBuilder
    example_ids: np.ndarray
    function: Callable[[Any, Any], tuple[np.ndarray, np.ndarray]]
    variables: Any
    mesh: Mesh
    blocks_per_batch: int
    bytes_of_row: int

    def __getitem__(self, rows: Int[np.ndarray, " n"]) -> Shaped[np.ndarray, "n l d"]:
        asked, places = np.unique(rows, return_inverse=True)
        builder = self.builder.of_examples(self.example_ids[asked])
        parts = []
        with jax.set_mesh(self.mesh):
            batches = device_feed.evaluation_batches(builder, self.mesh, self.blocks_per_batch)
            parts = [self.function(self.variables, batch) for batch in batches]
        ids, states = (np.concatenate(of) for of in zip(*parts, strict=True))
        found, first = np.unique(ids, return_index=True)
        own = first[np.searchsorted(found, self.example_ids[asked])]
        return states[own[places]]


States = np.ndarray | TokenStates


def groups(states: Sequence[States], count: int) -> Iterator[np.ndarray]:
    """Places of `count` pairs of rows, as many at a time as there is room for what is made."""
    made = sum(of.bytes_of_row for of in states if isinstance(of, TokenStates))
    size = max(GROUP_BYTES // made, 1) if made else max(count, 1)
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))


def held(
    states: States, rows: Int[np.ndarray, " n"]
) -> tuple[Shaped[np.ndarray, "k l d"], Int[np.ndarray, " n"]]:
    """(states in memory, the place of each row among them)."""
    if isinstance(states, np.ndarray):
        return states, rows
    asked, places = np.unique(rows, return_inverse=True)
    return states[asked], places
