"""Scenes of a video, found without labels: stretches of clips that are alike.

Kernel temporal segmentation (Potapov et al. 2014, Category-specific video summarization, section 3)
with a linear kernel and a price a scene: the cut of a video whose clips lie nearest to the means of
their scenes, each scene at a price, exactly, by dynamic programming.
"""

import numpy as np
from jaxtyping import Float, Int64

LONGEST = 256  # clips of a scene; time grows with it


def scatter(clips: Float[np.ndarray, "n c"]) -> float:
    """Mean squared distance of a video's clips to their mean: what prices are multiples of."""
    return float(np.square(clips - clips.mean(0), dtype=np.float64).sum(1).mean())


def first_clips(clips: Float[np.ndarray, "n c"], price: float) -> Int64[np.ndarray, " s"]:
    """First clip of each scene of a video, 0 the first, that make the squared distances of clips to
    the mean of their scene plus `price` a scene smallest. No scene is longer than LONGEST."""
    count = len(clips)
    centred = clips.astype(np.float64) - clips.mean(0, dtype=np.float64)
    sums = np.concatenate([np.zeros((1, clips.shape[1])), np.cumsum(centred, axis=0)])
    squares = np.concatenate([[0.0], np.cumsum(np.square(centred).sum(1))])
    lengths = np.square(sums).sum(1)
    least, before = np.zeros(count + 1), np.zeros(count + 1, np.int64)
    for block in range(1, count + 1, LONGEST):
        first = max(0, block - LONGEST)
        ends = np.arange(block, min(block + LONGEST, count + 1))
        products = sums[ends] @ sums[first : ends[-1]].T  # of all pairs at once, as BLAS is fast
        for end, of_end in zip(ends, products, strict=True):
            starts = np.arange(max(0, end - LONGEST), end)
            of_sums = lengths[end] + lengths[starts] - 2 * of_end[starts - first]
            within = squares[end] - squares[starts] - of_sums / (end - starts)
            totals = least[starts] + within + price
            best = int(np.argmin(totals))
            least[end], before[end] = totals[best], starts[best]
    found = [count]
    while found[-1]:
        found.append(int(before[found[-1]]))
    return np.array(found[:0:-1], np.int64)
