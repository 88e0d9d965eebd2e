"""Which of n candidates are right of each of n queries: the query's own, and perhaps others."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Bool, Int


@dataclasses.dataclass(frozen=True, eq=False)
class Groups:
    """Right are the candidates that have the query's number."""

    numbers: Int[np.ndarray, " n"]

    @functools.cached_property
    def _members(self) -> dict[int, np.ndarray]:
        """A number -> the places that have it."""
        order = np.argsort(self.numbers, kind="stable")
        names, starts = np.unique(self.numbers[order], return_index=True)
        return dict(zip(names.tolist(), np.split(order, starts[1:]), strict=True))

    def of(self, query: int) -> Int[np.ndarray, " r"]:
        """Places of the right candidates of a query."""
        return self._members[int(self.numbers[query])]

    def num_right(self) -> Int[np.ndarray, " n"]:
        """How many candidates are right of each query."""
        _, group, counts = np.unique(self.numbers, return_inverse=True, return_counts=True)
        return counts[group.reshape(-1)]

    def among(self, shortlists: Int[np.ndarray, "n s"]) -> Bool[np.ndarray, "n s"]:
        """Which of the candidates chosen for each query are right."""
        return self.numbers[shortlists] == self.numbers[:, None]

    def in_order(self, places: Int[np.ndarray, " n"]) -> "Groups":
        """The same of queries and candidates in another order."""
        return Groups(self.numbers[places])


@dataclasses.dataclass(frozen=True, eq=False)
class Shared:
    """Right are the candidates that have one of the query's labels of every kind.

    kinds: of each, which labels every example has, bool [k, n], one or more of k.
    """

    kinds: tuple[np.ndarray, ...]

    def of(self, query: int) -> Int[np.ndarray, " r"]:
        """Places of the right candidates of a query."""
        shared = [kind[kind[:, query]].any(axis=0) for kind in self.kinds]
        return np.flatnonzero(np.logical_and.reduce(shared))

    def num_right(self) -> Int[np.ndarray, " n"]:
        """How many candidates are right of each query."""
        return np.array([len(self.of(query)) for query in range(self.kinds[0].shape[1])])

    def among(self, shortlists: Int[np.ndarray, "n s"]) -> Bool[np.ndarray, "n s"]:
        """Which of the candidates chosen for each query are right."""
        chosen = enumerate(shortlists)
        return np.stack([np.isin(row, self.of(query)) for query, row in chosen])

    def in_order(self, places: Int[np.ndarray, " n"]) -> "Shared":
        """The same of queries and candidates in another order."""
        return Shared(tuple(kind[:, places] for kind in self.kinds))


Right = Groups | Shared
