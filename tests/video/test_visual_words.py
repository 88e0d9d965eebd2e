"""Visual words against plain NumPy: seeds, Lloyd's steps, the way down the tree, the file."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from tests import fakes
from videobert_jax.sharding import mesh
from videobert_jax.video import hierarchical_kmeans, visual_words
from videobert_jax.video.visual_words import VisualWordsError

DIM = fakes.FEATURE_DIM
ONE = mesh.MeshConfig(1, 1, 1)


def planted(count: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(features of three groups of three groups each, their true leaf)."""
    generator = np.random.default_rng(seed)
    outer = generator.normal(size=(3, 1, DIM)) * 20
    centres = (outer + generator.normal(size=(3, 3, DIM)) * 4).reshape(9, DIM)
    leaf = generator.integers(9, size=count)
    features = centres[leaf] + generator.normal(size=(count, DIM)) * 0.3
    return features.astype(np.float16), leaf


def fit(features, devices=1, chunk=128, **settings):
    chosen = hierarchical_kmeans.Settings(branching=3, depth=2, **settings)
    return hierarchical_kmeans.fit(
        lambda: (features[i : i + chunk] for i in range(0, len(features), chunk)),
        len(features),
        features.astype(np.float32).mean(0),
        fakes.CONTRACT,
        chosen,
        mesh.create_mesh(dataclasses.replace(ONE, data=devices), jax.devices()[:devices]),
        {"dataset": "planted"},
    )


def squared_distances(points: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    return np.square(points[:, None].astype(np.float64) - centroids[None]).sum(-1)


def descend(words: visual_words.VisualWords, features: np.ndarray) -> np.ndarray:
    """Down the tree, one feature and one child at a time."""
    found = []
    for feature in features.astype(np.float64) - words.centre:
        node = 0
        for centroids in words.levels:
            children = range(node * words.branching, (node + 1) * words.branching)
            node = min(
                (child for child in children if not np.isnan(centroids[child, 0])),
                key=lambda child: np.square(feature - centroids[child]).sum(),
            )
        found.append(node)
    return np.array(found)


def test_a_planted_hierarchy_is_found():
    features, leaf = planted()
    words = fit(features)
    found = words.assign(features)
    pairs = set(zip(found.tolist(), leaf.tolist(), strict=True))
    assert len(pairs) == 9 == len(set(found.tolist()))
    assert len({(word // 3, true // 3) for word, true in pairs}) == 3  # the outer groups as well
    levels = words.about["figures"]
    assert [level["words"] for level in levels] == [3, 9]
    assert levels[1]["occupancy"] == 1.0
    error = squared_distances(features - words.centre, words.levels[1]).min(1).mean()
    assert levels[1]["quantisation_error"] == pytest.approx(error, rel=1e-4)
    shares = np.bincount(found) / len(found)
    perplexity = np.exp(-(shares * np.log(shares)).sum())
    assert levels[1]["perplexity"] == pytest.approx(perplexity, rel=1e-6)


def test_features_go_down_the_tree_to_the_nearest_child():
    features, _ = planted(count=300)
    words = fit(features, sample=64)
    other = np.random.default_rng(1).normal(size=(200, DIM)).astype(np.float16) * 20
    for given in (features, other):
        np.testing.assert_array_equal(words.assign(given), descend(words, given))
    assert (
        words.assign(other) != squared_distances(other - words.centre, words.levels[1]).argmin(1)
    ).any()


@pytest.mark.long
def test_eight_devices_find_the_words_of_one(monkeypatch):
    monkeypatch.setattr(hierarchical_kmeans, "_PRODUCTS", 1)  # a node at a time, or eight
    features, _ = planted()
    one, eight = fit(features), fit(features, devices=8)
    for mine, theirs in zip(one.levels, eight.levels, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)
    sample = hierarchical_kmeans._Data(
        lambda: [features], len(features), one.centre, mesh.create_mesh(mesh.MeshConfig(8, 1, 1))
    ).placed(features[None].astype(np.float32))
    assert len(sample.sharding.device_set) == 8 and not sample.is_fully_replicated


def inner_products(sample: np.ndarray) -> jax.Array:
    return jnp.asarray(np.einsum("psc,ptc->pst", sample, sample))


def test_a_lloyd_step_is_the_mean_of_what_is_nearest():
    generator = np.random.default_rng(2)
    sample = generator.normal(size=(2, 40, DIM)).astype(np.float32)
    real = np.arange(40)[None] < np.array([[40], [25]])
    weights = np.zeros((2, 40, 4), np.float32)
    for node, child, points in ((0, 0, [3, 7]), (0, 1, [5]), (0, 2, [5]), (0, 3, [9, 11, 12])):
        weights[node, points, child] = 1 / len(points)  # child 2 never has a point of its own
    weights[1, [0, 1, 2], [0, 1, 2]] = 1.0  # and child 3 is no word
    centroids = np.einsum("psb,psc->pbc", weights, sample)
    found, error = hierarchical_kmeans.lloyd_step(
        inner_products(sample), jnp.asarray(real), jnp.asarray(weights)
    )
    expected, total = centroids.copy(), 0.0
    for node, children in enumerate((4, 3)):
        points = sample[node][real[node]]
        distances = squared_distances(points, centroids[node, :children])
        child = distances.argmin(1)
        total += distances.min(1).sum()
        for number in set(child.tolist()):
            expected[node, number] = points[child == number].mean(0)
        if node == 0:  # the child that had nothing goes to the point that is worst off
            expected[0, 2] = points[distances.min(1).argmax()]
    moved = np.einsum("psb,psc->pbc", found, sample)
    np.testing.assert_allclose(moved, expected, atol=1e-4)
    assert not np.asarray(found)[1, :, 3].any()
    assert float(error) == pytest.approx(total / real.sum(), rel=1e-5)


def test_seeds_are_points_drawn_by_squared_distance():
    points = np.zeros((1, 12, DIM), np.float32)
    points[0, :, 0] = [0] * 10 + [1, 2.5]
    real, products = jnp.ones((1, 12), bool), inner_products(points)
    draw = jax.vmap(lambda key: hierarchical_kmeans.seeds(products, real, key[None], 2)[0])
    weights = np.asarray(draw(jax.random.split(jax.random.key(0), 20_000)))
    assert (np.sort(weights, axis=1)[:, -1] == 1).all() and (weights.sum(1) == 1).all()
    drawn = np.einsum("nsb,s->nb", weights, points[0, :, 0])
    # The first is any of 12 points. Then 1 and 2.5 are drawn as 1 to 6.25, four times; 2.5
    # leaves less error and is taken wherever it is among the four.
    assert abs((drawn[:, 0] == 0).mean() - 10 / 12) < 0.02
    after_zero = drawn[drawn[:, 0] == 0, 1]
    assert set(after_zero.tolist()) == {1.0, 2.5}
    expected = len(after_zero) * (1 / 7.25) ** 4
    assert abs((after_zero == 1.0).sum() - expected) < 4 * expected**0.5
    assert (drawn[drawn[:, 0] == 2.5, 1] == 0.0).all()  # ten points at 0 outweigh the one at 1


def test_a_pass_over_all_features_is_a_lloyd_step_on_them():
    features, _ = planted(count=500)
    words = fit(features, sample=60, passes=0)
    nodes = descend(dataclasses.replace(words, levels=words.levels[:1]), features).astype(np.int32)
    data = hierarchical_kmeans._Data(
        lambda: [features], len(features), words.centre, mesh.create_mesh(ONE, jax.devices()[:1])
    )
    moved = hierarchical_kmeans._pass(data, nodes, words.levels[1], 3)
    found = descend(words, features)
    for word in set(found.tolist()):
        mean = (features[found == word].astype(np.float64) - words.centre).mean(0)
        np.testing.assert_allclose(moved[word], mean, atol=1e-4)
    sampled, passed = (fit(features, sample=60, passes=n).about["figures"][1] for n in (0, 3))
    assert passed["quantisation_error"] < sampled["quantisation_error"]


def test_the_sample_is_drawn_without_replacement():
    nodes = np.random.default_rng(0).integers(5, size=400)
    chosen = hierarchical_kmeans.draw_sample(nodes, 6, 50, seed=1)
    for node in range(6):
        kept = chosen[node][chosen[node] >= 0]
        assert len(kept) == len(set(kept.tolist())) == min(50, (nodes == node).sum())
        assert (nodes[kept] == node).all()
    again = hierarchical_kmeans.draw_sample(nodes, 6, 50, seed=2)
    assert (chosen[0] != again[0]).any()


def test_fewer_distinct_points_than_branches_make_fewer_words():
    distinct = np.random.default_rng(0).normal(size=(4, DIM)).astype(np.float16)
    features = np.repeat(distinct, 10, axis=0)
    words = fit(features)
    assert words.exists.sum() == 4 and words.num_words == 9
    assert words.about["figures"][1]["words"] == 4
    assert words.exists[words.assign(features)].all()
    assert words.about["figures"][1]["quantisation_error"] < 1e-3


def test_a_file_of_another_depth_is_refused_before_its_levels_are_listed(tmp_path):
    path = tmp_path / "words.safetensors"
    visual_words.save(path, fit(planted(count=30)[0]))
    with safe_open(path, "numpy") as file:
        about = json.loads(file.metadata()["visual_words"])
        tensors = {name: file.get_tensor(name) for name in ("centre", "level_1", "level_2")}
    save_file(tensors, path, {"visual_words": json.dumps({**about, "depth": 2**63})})
    with pytest.raises(visual_words.VisualWordsError, match="depth 9223372036854775808 and 3 tens"):
        visual_words.load(path)


def test_what_cannot_be_fitted_or_assigned_is_refused():
    features, _ = planted(count=30)
    with pytest.raises(VisualWordsError, match="2 clip features for 3 branches"):
        fit(features[:2])
    damaged = features.copy()
    damaged[7, 3] = np.nan
    with pytest.raises(VisualWordsError, match=r"1 of 30 clip features are NaN"):
        fit(damaged)
    words = fit(features)
    with pytest.raises(VisualWordsError, match=r"\[30, 5\], expected \[clips, 24\]"):
        words.assign(features[:, :5])
    with pytest.raises(VisualWordsError, match="20 clip features came, 30 were announced"):
        data = hierarchical_kmeans._Data(
            lambda: [features[:20]], 30, words.centre, mesh.create_mesh(ONE, jax.devices()[:1])
        )
        list(data.chunks())


def test_a_file_keeps_everything_and_damage_is_named(tmp_path):
    features, _ = planted(count=100)
    words = fit(features)
    path = tmp_path / "words.safetensors"
    visual_words.save(path, words)
    read = visual_words.load(path)
    assert read.contract == words.contract and read.about == words.about
    np.testing.assert_array_equal(read.assign(features), words.assign(features))
    whole = path.read_bytes()
    for content in (whole[:-5], whole[:50], b"", b"x" * 200):
        path.write_bytes(content)
        with pytest.raises(VisualWordsError, match="not a whole safetensors file"):
            visual_words.load(path)
    import safetensors.numpy

    path.write_bytes(safetensors.numpy.save({"centre": np.zeros(3, np.float32)}))
    with pytest.raises(VisualWordsError, match="format None"):
        visual_words.load(path)
    other = dataclasses.replace(words, levels=(words.levels[0], words.levels[1][:6]))
    visual_words.save(path, other)
    with pytest.raises(VisualWordsError, match=r"'level_2': \(6, 24\).*expected"):
        visual_words.load(path)


def test_tiles_hold_every_point_once_beside_those_of_its_group():
    groups = np.random.default_rng(3).integers(7, size=50)
    points, owners = visual_words.tiles(groups, 4)
    assert sorted(points[points >= 0].tolist()) == list(range(50))
    for tile, owner in zip(points, owners, strict=True):
        assert (groups[tile[tile >= 0]] == owner).all()
    assert len(points) == sum(-(-int((groups == group).sum()) // 4) for group in set(groups))
