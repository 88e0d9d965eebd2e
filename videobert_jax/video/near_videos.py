"""An order in which vectors that are alike stand side by side, from a tree of clusters."""

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int64

from videobert_jax.schema import FeatureContract
from videobert_jax.video import hierarchical_kmeans, visual_words
from videobert_jax.video.visual_words import VisualWords

BRANCHING = 8
LEAF = 32  # vectors of a cluster at the bottom, about


def order(
    vectors: Float[np.ndarray, "v j"], contract: FeatureContract, seed: int, mesh: Mesh
) -> Int64[np.ndarray, " v"]:
    """Numbers of the vectors, near ones together: those of a cluster, of its parent, and so on.

    A tree of k-means takes time in proportion to their number, where a table of nearest neighbours
    takes its square, and gives every vector one place, where some are the neighbours of many.
    `contract`: of what the vectors were made of. Raises VisualWordsError on NaN.
    """
    count = len(vectors)
    branching = min(BRANCHING, count)
    if count < 3:
        return np.arange(count)
    depth = max(1, round(np.log(count / LEAF) / np.log(branching)))
    words = hierarchical_kmeans.fit(
        lambda: (
            vectors[start : start + visual_words.CHUNK]
            for start in range(0, count, visual_words.CHUNK)
        ),
        count,
        vectors.mean(0),
        contract,
        hierarchical_kmeans.Settings(branching=branching, depth=depth, seed=seed),
        mesh,
        {},
    )
    place_of_leaf = np.empty(words.num_words, np.int64)
    leaves = leaf_order(words)
    place_of_leaf[leaves] = np.arange(len(leaves))
    return np.argsort(place_of_leaf[words.assign(vectors)], kind="stable")


def leaf_order(words: VisualWords) -> Int64[np.ndarray, " w"]:
    """The leaves of a tree, depth first; the children of a node in the order in which they lie
    along the line on which they differ most, so that near ones are neighbours."""
    nodes = np.zeros(1, np.int64)
    for centroids in words.levels:
        children = centroids.reshape(-1, words.branching, centroids.shape[1])[nodes]
        exists = ~np.isnan(children[..., 0])
        numbers = exists.sum(1, keepdims=True)
        known = np.where(exists[..., None], children, 0.0)
        inside = known - known.sum(1, keepdims=True) / np.maximum(numbers, 1)[..., None]
        inside[~exists] = 0.0
        axes = np.linalg.svd(inside, full_matrices=False)[2][:, 0]
        along = np.einsum("nbc,nc->nb", inside, axes)
        # an axis has no direction of its own: the first child comes in the first half
        along *= np.where(along[:, :1] > 0, -1.0, 1.0)
        ranks = np.argsort(np.where(exists, along, np.inf), axis=1, kind="stable")
        ordered = nodes[:, None] * words.branching + ranks
        nodes = ordered[np.take_along_axis(exists, ranks, axis=1)]
    return nodes
