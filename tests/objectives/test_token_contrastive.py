"""The token contrast against its definition in NumPy, one word and one video at a time."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import fakes
from tests.objectives.test_objectives import alike_in_words, logsumexp, unit
from videobert_jax.objectives import token_contrastive
from videobert_jax.objectives.config import TokenContrastiveConfig

DISTANCE, TEMPERATURE = 2, 0.1
PLACES = [(row, example) for row in range(6) for example in range(2)]


@pytest.fixture(scope="module")
def block():
    made = fakes.block(6)
    made.pair_weights[1, 0] = 0  # a side of it is missing
    made.word_weights[2][made.text_segment_ids[2] == 2] = 0  # a caption without content words
    made.video_masked[3, 0] = True
    return made


@pytest.fixture(scope="module")
def points():
    generator = np.random.default_rng(0)
    return unit(generator, 6, 16, 8), unit(generator, 6, 8, 8)


def pieces_of(block, own: tuple[int, int]) -> np.ndarray:
    return np.flatnonzero(block.text_segment_ids[own[0]] == own[1] + 1)


def shown_clips(block, example: tuple[int, int]) -> np.ndarray:
    row, place = example
    return np.flatnonzero((block.video_segment_ids[row] == place + 1) & ~block.video_masked[row])


def in_words(block, text: np.ndarray, video: np.ndarray) -> tuple[float, int]:
    """(loss, pairs that count)."""
    expected, counted = 0.0, 0
    for own in PLACES:
        pieces = pieces_of(block, own)
        weights = block.word_weights[own[0], pieces]
        if not block.pair_weights[own] or not weights.any():
            continue
        counted += 1
        for piece, weight in zip(pieces, weights, strict=True):
            scores = {
                other: max(text[own[0], piece] @ video[other[0], c] for c in shown)
                for other in PLACES
                if len(shown := shown_clips(block, other))
                and block.pair_weights[other]
                and (other == own or not alike_in_words(block, own, other))
            }
            loss = logsumexp([s / TEMPERATURE for s in scores.values()]) - scores[own] / TEMPERATURE
            expected += weight / weights.sum() * loss
    return expected, counted


def found_total(block, text: Any, video: Any, chunks: int = 1) -> float:
    config = TokenContrastiveConfig(1.0, TEMPERATURE, chunks)
    inputs = (jnp.asarray(text), jnp.asarray(video), fakes.on_device(block))
    return float(token_contrastive.total(*inputs, config, DISTANCE))


@pytest.mark.parametrize("chunks", [1, 3])
def test_every_content_word_chooses_its_video_by_the_nearest_clip(block, points, chunks):
    expected, counted = in_words(block, *points)
    assert found_total(block, *points, chunks) == pytest.approx(expected, rel=1e-5)
    assert float(token_contrastive.weight(fakes.on_device(block))) == counted
    assert 5 < counted < 11


def test_chunks_change_no_gradient(block, points):
    on_device = fakes.on_device(block)

    def gradients(chunks: int) -> Any:
        config = TokenContrastiveConfig(1.0, TEMPERATURE, chunks)
        return jax.grad(token_contrastive.total, argnums=(0, 1))(
            *map(jnp.asarray, points), on_device, config, DISTANCE
        )

    whole, parts = gradients(1), gradients(2)
    assert all(np.isfinite(values).all() and np.any(values) for values in whole)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), whole, parts)


def test_a_word_weighs_by_its_weight_and_another_video_of_it_is_no_negative(block, points):
    base = found_total(block, *points)
    heavier = dataclasses.replace(block, word_weights=block.word_weights.copy())
    heavier.word_weights[0, pieces_of(block, (0, 0))[-1]] += 5.0
    assert found_total(heavier, *points) == pytest.approx(in_words(heavier, *points)[0], rel=1e-5)
    assert abs(found_total(heavier, *points) - base) > 1e-3
    same = dataclasses.replace(block, caption_hashes=np.full_like(block.caption_hashes, 7))
    assert found_total(same, *points) == pytest.approx(0.0, abs=1e-5)  # twins, all of them
