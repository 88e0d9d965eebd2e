"""What a block takes, decided from the index alone: source, sides and clips; nothing is read."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64, UInt64

from videobert_jax.data import order

_ONE = 1 << 32  # shares are fractions of it, so that block numbers are exact for ever


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Mixes the blocks of several sources in fixed proportions, evenly: no draw, no state.

    `shares[s]` is the part of the blocks left over by the sources before s that go to source s,
    in units of 2^-32. After k blocks every source is within one block of k times its weight for
    each source before it, itself included.
    """

    shares: tuple[int, ...]

    def locate(self, k: int) -> tuple[int, int]:
        """(source, number of the block within that source) of block k."""
        last = len(self.shares) - 1
        for source, share in enumerate(self.shares[:-1]):
            before = _taken(k, share)
            if _taken(k + 1, share) > before:
                return source, before
            k -= before
        return last, k

    def counts(self, k: int) -> list[int]:
        """How many of the first k blocks each source has given."""
        counts = []
        for share in self.shares[:-1]:
            counts.append(_taken(k, share))
            k -= counts[-1]
        return [*counts, k]


def _taken(k: int, share: int) -> int:
    return (k * share + _ONE // 2) // _ONE


def schedule(weights: Sequence[float]) -> Schedule:
    """Schedule of sources with these positive weights."""
    if not weights or min(weights) <= 0:
        raise ValueError(f"weights of sources {list(weights)}; expected one or more, all positive")
    shares = []
    for source, weight in enumerate(weights):
        share = round(weight / sum(weights[source:]) * _ONE)
        shares.append(min(max(share, 1), _ONE))
    return Schedule(tuple(shares))


def random_window(
    counts: Int64[np.ndarray, " n"], kept: Int64[np.ndarray, " n"], seeds: UInt64[np.ndarray, " n"]
) -> Int64[np.ndarray, " n"]:
    """First of the `kept` neighbouring clips of an example's `counts`, uniform over all starts."""
    return order.integers(seeds, order.WINDOW, 0, 0, counts - kept + 1)


def centred_window(
    counts: Int64[np.ndarray, " n"], kept: Int64[np.ndarray, " n"]
) -> Int64[np.ndarray, " n"]:
    """First of the `kept` clips in the middle of an example's `counts`: no chance in evaluation."""
    return (counts - kept) // 2
