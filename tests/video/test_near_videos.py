"""Orders from trees of clusters: clusters whole, and near clusters side by side."""

import jax
import numpy as np

from tests import fakes
from videobert_jax.sharding import mesh as meshes
from videobert_jax.video import near_videos
from videobert_jax.video.visual_words import VisualWords


def one_device():
    return meshes.create_mesh(meshes.MeshConfig(1, 1, 1), jax.devices()[:1])


def test_leaves_stand_depth_first_and_siblings_along_a_line():
    """Nine leaves: their numbers in the tree are mixed up, their places on a line are not."""
    places = {0: 40.0, 1: 10.0, 2: 30.0}
    parents = np.array([[places[n], 0.0] for n in range(3)], np.float32)
    offsets = np.array([[2.0, 0, -2], [0, -2, 2], [-2, np.nan, 0]], np.float32)
    leaves = np.stack([parents[:, :1] + offsets, offsets * 0], -1).reshape(9, 2)
    words = VisualWords(3, np.zeros(2, np.float32), (parents, leaves), fakes.CONTRACT, {})
    found = near_videos.leaf_order(words).tolist()
    along = leaves[found, 0]
    of_parents = np.array(found) // 3
    assert of_parents.tolist() in ([1, 1, 1, 2, 2, 0, 0, 0], [0, 0, 0, 2, 2, 1, 1, 1])
    for parent in range(3):  # up or down, and none left out but the one that there is not
        steps = np.diff(along[of_parents == parent])
        assert len(steps) == (1 if parent == 2 else 2)
        assert (steps == 2).all() or (steps == -2).all()


def test_clusters_stay_whole_and_the_same_seed_gives_the_same_order():
    generator = np.random.default_rng(0)
    centres = np.linalg.qr(generator.normal(size=(16, 16)))[0][:8]
    owners = generator.permutation(np.repeat(np.arange(8), 20))
    vectors = centres[owners] + generator.normal(size=(160, 16)) * 0.02
    vectors = vectors.astype(np.float32)
    order = near_videos.order(vectors, fakes.CONTRACT, 0, one_device())
    assert sorted(order.tolist()) == list(range(160))
    assert (np.diff(owners[order]) != 0).sum() == 7
    again = near_videos.order(vectors, fakes.CONTRACT, 0, one_device())
    np.testing.assert_array_equal(order, again)


def test_few_vectors_have_an_order_too():
    vectors = np.eye(5, dtype=np.float32)
    for count in (1, 2, 5):
        order = near_videos.order(vectors[:count], fakes.CONTRACT, 0, one_device())
        assert sorted(order.tolist()) == list(range(count))
