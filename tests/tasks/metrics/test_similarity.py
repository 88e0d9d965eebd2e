"""Blocks of similarities against whole matrices, and ranks read off them."""

import numpy as np
import pytest

from videobert_jax.tasks.metrics import ranking, similarity
from videobert_jax.tasks.metrics.relevance import Groups, Shared


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of a few rows, the last one shorter."""
    monkeypatch.setattr(similarity, "_ELEMENTS", 30)


def cosines(queries: int, candidates: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    sides = (random.normal(size=(n, 5)).astype(np.float32) for n in (queries, candidates))
    left, right = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides)
    return left, right


def whole(of: similarity.Similarity) -> np.ndarray:
    blocks = list(of.blocks())
    starts = np.cumsum([0, *(len(scores) for _, scores in blocks)])[:-1]
    assert [first for first, _ in blocks] == starts.tolist() and len(blocks) > 1
    return np.concatenate([scores for _, scores in blocks])


def test_blocks_of_each_kind_are_the_whole_matrix_both_ways():
    left, right = cosines(11, 7)
    full = left.astype(np.float64) @ right.T.astype(np.float64)
    weights = np.exp(100 * full) / np.exp(100 * full).sum(axis=0)
    other = np.exp(100 * full.T) / np.exp(100 * full.T).sum(axis=0)
    products = similarity.Products(left, right)
    for of, expected, turned in (
        (products, full, full.T),
        (similarity.Matrix(full.astype(np.float16)), full.astype(np.float16), full.T),
        (similarity.DualSoftmax(similarity.Matrix(full)), full * weights, full.T * other),
    ):
        tolerance = 1e-3 if of.__class__ is similarity.Matrix else 1e-6
        np.testing.assert_allclose(whole(of), expected, atol=tolerance, rtol=1e-6)
        np.testing.assert_allclose(whole(of.T), turned, atol=tolerance, rtol=1e-6)


def test_float64_scores_keep_what_float32_would_make_equal():
    scores = np.eye(9) * 1e-12 + 1.0
    ranks, _ = ranking.of_similarity(similarity.Matrix(scores), {"": Groups(np.arange(9))}, size=0)
    assert ranks[""].tolist() == [1.0] * 9


def test_dual_softmax_keeps_what_is_far_apart_in_order_and_refuses_what_is_no_cosine():
    far = similarity.Matrix(np.array([[1.0, 0.99, 0.98]] * 12 + [[-1.0, -0.9, 0.1]] * 8))
    assert (whole(similarity.DualSoftmax(far)) != 0).all()
    with pytest.raises(ValueError, match="found a score of 7 in size"):
        whole(similarity.DualSoftmax(similarity.Matrix(np.full((9, 9), -7.0))))


def test_first_ranks_are_those_of_the_whole_matrix():
    left, right = cosines(23, 23)
    left, right = left.round(1), right.round(1)  # so that scores tie
    random = np.random.default_rng(1)
    groups = {"": np.arange(23), "_kind": random.integers(3, 9, 23)}
    has = [random.random((size, 23)) < 0.3 for size in (4, 6)]
    for of_kind in has:  # every example has a label of every kind
        of_kind[random.integers(0, len(of_kind), 23), np.arange(23)] = True
    rights = {name: Groups(of) for name, of in groups.items()} | {"_shared": Shared(tuple(has))}
    is_right = {name: of[:, None] == of[None] for name, of in groups.items()}
    is_right["_shared"] = np.array(
        [[all((of[:, i] & of[:, j]).any() for of in has) for j in range(23)] for i in range(23)]
    )
    products = similarity.Products(left, right)
    scores = whole(products)
    ranks, short = ranking.of_similarity(products, rights, size=4)
    assert any(len(np.unique(row)) < 23 for row in scores)
    places, rows = random.permutation(23), np.arange(23)[:, None]
    for name, of in is_right.items():
        assert ranks[name].tolist() == ranking.first_ranks(scores, of).tolist()
        assert rights[name].num_right().tolist() == of.sum(axis=1).tolist()
        np.testing.assert_array_equal(rights[name].among(short), of[rows, short])
        moved = rights[name].in_order(places)
        for query, expected in enumerate(of[places][:, places]):
            assert moved.of(query).tolist() == np.flatnonzero(expected).tolist()
    assert is_right["_shared"].sum() != is_right["_shared"].all(axis=0).sum() * 23
    np.testing.assert_array_equal(short, np.argsort(-scores, axis=1, kind="stable")[:, :4])


def test_equal_vectors_tie_in_every_block():
    same = np.tile(np.random.default_rng(2).normal(size=5).astype(np.float32), (23, 1))
    ranks, _ = ranking.of_similarity(
        similarity.Products(same, same), {"": Groups(np.arange(23))}, size=0
    )
    assert ranks[""].tolist() == [12.0] * 23


def test_a_score_that_is_not_a_number_is_refused_in_any_block():
    scores = np.zeros((23, 23))
    scores[20, 3] = np.nan
    with pytest.raises(ValueError, match="1 of 23 scores are not finite"):
        ranking.of_similarity(similarity.Matrix(scores), {"": Groups(np.arange(23))}, size=0)
