"""The cascade against its definition in NumPy: the hardest of the block, a choice among them."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from tests import fakes
from tests.objectives import test_objectives as objectives
from tests.objectives.test_objectives import alike_in_words, logsumexp, partners_in_words, unit
from videobert_jax.objectives import cascade, matching

DISTANCE = 2


@pytest.fixture(scope="module")
def block():
    return objectives.packed(3)


def embeddings(seed: int, examples: int):
    generator = np.random.default_rng(seed)
    return unit(generator, 6, examples, 16), unit(generator, 6, examples, 16)


def test_of_one_example_a_row_the_most_similar_videos_are_met(block):
    single = dataclasses.replace(
        fakes.block(6, dataclasses.replace(fakes.PACKED_SHAPE, examples=1)),
        pair_weights=block.pair_weights[:, :1],
    )
    text, video = embeddings(0, 1)
    inputs = (jnp.asarray(text), jnp.asarray(video), fakes.on_device(single))
    chosen = cascade.hardest(*inputs, 3, DISTANCE)
    for row in range(6):
        allowed = [
            other
            for other in range(6)
            if single.pair_weights[other, 0]
            and single.pair_weights[row, 0]
            and not alike_in_words(single, (row, 0), (other, 0))
        ]
        by_cosine = sorted(allowed, key=lambda other: -float(text[row, 0] @ video[other, 0]))
        assert np.asarray(chosen.rows)[: len(by_cosine), row].tolist() == by_cosine[:3]
        assert len(allowed) > 1 or row == 1
    assert not np.asarray(chosen.rotations).any()


def test_of_packed_rows_those_are_met_that_are_most_similar_on_average(block):
    text, video = embeddings(1, 3)
    inputs = (jnp.asarray(text), jnp.asarray(video), fakes.on_device(block))
    chosen = cascade.hardest(*inputs, 4, DISTANCE)
    for row in range(6):
        means = {
            (other, rotation): np.mean([text[one] @ video[partner] for one, partner in pairs])
            for other, rotation in np.ndindex(6, 3)
            if (pairs := partners_in_words(block, row, other, rotation))
        }
        expected = sorted(means, key=lambda meeting: -means[meeting])[:4]
        places = np.asarray(chosen.rows)[:, row], np.asarray(chosen.rotations)[:, row]
        assert list(zip(*(place.tolist() for place in places), strict=True)) == expected


def test_the_right_video_has_to_win_among_those_that_may_be_judged(block):
    on_device = fakes.on_device(block)
    text, video = embeddings(1, 3)
    mismatches = cascade.hardest(jnp.asarray(text), jnp.asarray(video), on_device, 4, DISTANCE)
    weights = jnp.stack(
        [
            matching.mismatched_weights(
                matching.Mismatch(mismatches.rows[k], mismatches.rotations[k]), on_device, DISTANCE
            )
            for k in range(4)
        ]
    )
    assert 0 < (np.asarray(weights) == 0).sum() < weights.size / 2
    generator = np.random.default_rng(2)
    matched = generator.normal(size=(6, 3)).astype(np.float32)
    mismatched = generator.normal(size=(4, 6, 3)).astype(np.float32)
    expected = 0.0
    for own in np.ndindex(6, 3):
        if block.pair_weights[own]:
            met = [mismatched[k][own] for k in range(4) if weights[k][own] > 0]
            expected += logsumexp([matched[own], *met]) - matched[own]
    found = cascade.total(
        jnp.asarray(matched), jnp.asarray(mismatched), weights, on_device, DISTANCE
    )
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert float(cascade.weight(on_device, DISTANCE)) == 17
    alone = dataclasses.replace(block, caption_hashes=np.full_like(block.caption_hashes, 7))
    assert float(cascade.weight(fakes.on_device(alone), DISTANCE)) == 0
