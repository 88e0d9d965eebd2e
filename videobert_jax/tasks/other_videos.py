"""Another video in the place of each example's: what a figure is worth if the clips say nothing."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int


def of_same_kind(
    videos: Int[np.ndarray, " n"], kinds: Sequence[str], *, seed: int
) -> Int[np.ndarray, " n"] | None:
    """For each example one of the same kind in another video; None where there is none for some."""
    found = np.full(len(videos), -1)
    names = np.asarray(kinds)
    for kind in dict.fromkeys(kinds):
        members = np.flatnonzero(names == kind)
        of, sizes = np.unique(videos[members], return_inverse=True, return_counts=True)[1:]
        # one video after the other; behind as many as the largest has, another one's come
        drawn = members[np.argsort(np.random.default_rng(seed).permutation(len(sizes))[of])]
        if 2 * sizes.max() > len(members):
            return None
        found[drawn] = np.roll(drawn, int(sizes.max()))
    return found
