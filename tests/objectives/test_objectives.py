"""Every objective against its definition in NumPy, written as loops over pairs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import fakes
from videobert_jax import schema
from videobert_jax.objectives import contrastive, masked_language, masked_video, matching, twins
from videobert_jax.objectives.config import ContrastiveConfig

DISTANCE = 2


def logsumexp(values) -> float:
    values = np.asarray(values, np.float64)
    return float(values.max() + np.log(np.exp(values - values.max()).sum()))


def alike_in_words(block, one: tuple[int, int], other: tuple[int, int], clips=(0, 0)) -> bool:
    """The rule, said for one pair of (row, example) and clip offsets within them."""
    if block.example_ids[one] == block.example_ids[other]:
        return True
    if block.caption_hashes[one] and block.caption_hashes[one] == block.caption_hashes[other]:
        return True
    near = abs(int(block.clip_indices[one]) + clips[0] - int(block.clip_indices[other]) - clips[1])
    return bool(block.video_ids[one] == block.video_ids[other] and near <= DISTANCE)


@pytest.fixture(scope="module")
def block():
    made = fakes.block(6)
    made.pair_weights[1, 0] = 0  # a side of it is missing
    made.caption_hashes[2, 1] = made.caption_hashes[4, 0] = 0  # no captions: not the same caption
    return made


def packed(examples: int) -> schema.Batch:
    """Six rows of so many examples each, of which one has a side missing."""
    lengths = {"text_length": 8 * examples, "video_length": 4 * examples}
    lengths["weighted_text"] = lengths["text_length"]
    shape = dataclasses.replace(fakes.PACKED_SHAPE, examples=examples, **lengths)
    made = fakes.block(6, shape)
    made.pair_weights[1, 0] = 0
    return made


def unit(generator, *shape):
    values = generator.normal(size=shape)
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


def test_masked_language_is_cross_entropy_at_the_slots(block):
    logits = np.random.default_rng(0).normal(size=(6, 4, 50)).astype(np.float32)
    targets = block.text_targets % 50
    expected = sum(
        logsumexp(logits[row, slot]) - logits[row, slot, targets[row, slot]]
        for row, slot in zip(*np.nonzero(block.text_slot_weights), strict=True)
    )
    on_device = fakes.on_device(block)
    on_device.text_targets = jnp.asarray(targets)
    assert float(masked_language.total(jnp.asarray(logits), on_device)) == pytest.approx(
        expected, rel=1e-5
    )
    assert float(masked_language.weight(on_device)) == 12


def test_masked_video_leaves_alike_clips_and_padding_out(block):
    generator = np.random.default_rng(1)
    predictions, targets = unit(generator, 6, 4, 16), unit(generator, 6, 8, 16)
    expected = 0.0
    left_out = 0
    for row, slot in zip(*np.nonzero(block.video_slot_weights), strict=True):
        place = block.video_slots[row, slot]
        own = (row, block.video_segment_ids[row, place] - 1)
        own_score = predictions[row, slot] @ targets[row, place] / 0.07
        scores = [own_score]
        for other_row, other_place in zip(*np.nonzero(block.video_segment_ids), strict=True):
            other = (other_row, block.video_segment_ids[other_row, other_place] - 1)
            clips = (
                block.video_positions[row, place],
                block.video_positions[other_row, other_place],
            )
            if alike_in_words(block, own, other, clips):
                left_out += 1
                continue
            scores.append(predictions[row, slot] @ targets[other_row, other_place] / 0.07)
        expected += logsumexp(scores) - own_score
    assert left_out > 12 * 2  # more than the clips of the example itself
    found = masked_video.nce_total(
        jnp.asarray(predictions),
        jnp.asarray(targets),
        fakes.on_device(block),
        temperature=0.07,
        clip_distance=DISTANCE,
    )
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_words_and_features_of_hidden_clips_count_at_the_slots(block):
    generator = np.random.default_rng(5)
    cosines = generator.uniform(-1, 1, (6, 4, 30)).astype(np.float32)
    words = generator.integers(0, 30, (6, 4), dtype=np.int32)
    predicted, features = generator.normal(size=(2, 6, 4, 8)).astype(np.float32)
    at_slots = list(zip(*np.nonzero(block.video_slot_weights), strict=True))
    assert 0 < len(at_slots) < 24
    on_device = fakes.on_device(block)
    expected = sum(logsumexp(cosines[s] / 0.1) - cosines[s][words[s]] / 0.1 for s in at_slots)
    found = masked_video.word_total(
        jnp.asarray(cosines), jnp.asarray(words), on_device, temperature=0.1
    )
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
    expected = sum(np.mean((predicted[s] - features[s]) ** 2) for s in at_slots)
    found = masked_video.regression_total(jnp.asarray(predicted), jnp.asarray(features), on_device)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


PLACES = [(row, example) for row in range(6) for example in range(2)]


def near_in_words(block, one: tuple[int, int], other: tuple[int, int], near_clips: int) -> bool:
    apart = abs(int(block.clip_indices[one]) - int(block.clip_indices[other]))
    return bool(block.video_ids[one] == block.video_ids[other] and apart <= near_clips)


def contrastive_in_words(block, text, video, near_clips: int) -> float:
    """The loss at scale 10: candidates and positives of every pair, listed one by one."""
    expected = 0.0
    for own in PLACES:
        if not block.pair_weights[own]:
            continue
        paired = [other for other in PLACES if other == own or block.pair_weights[other]]
        positives = [o for o in paired if o == own or near_in_words(block, own, o, near_clips)]
        candidates = [o for o in paired if o in positives or not alike_in_words(block, own, o)]
        assert len(candidates) < 12
        for one, other in ((text, video), (video, text)):
            all_scores = [10.0 * one[own] @ other[candidate] for candidate in candidates]
            own_scores = [10.0 * one[own] @ other[positive] for positive in positives]
            expected += 0.5 * (logsumexp(all_scores) - logsumexp(own_scores))
    return expected


@pytest.mark.parametrize("near_clips", [0, 2])
@pytest.mark.parametrize("chunks", [1, 3])
def test_contrastive_is_symmetric_and_leaves_alike_pairs_out(block, near_clips, chunks):
    generator = np.random.default_rng(2)
    text, video = unit(generator, 6, 2, 16), unit(generator, 6, 2, 16)
    # clips of a video lie 2 apart: within the twins' distance, and just within `near_clips` of 2
    expected = contrastive_in_words(block, text, video, near_clips if near_clips else -1)
    batch = jax.tree.map(lambda values: values[None], fakes.on_device(block))
    found = contrastive.total(
        jnp.asarray(text)[None],
        jnp.asarray(video)[None],
        jnp.asarray(10.0),
        batch,
        ContrastiveConfig(1.0, near_clips, chunks),
        DISTANCE,
    )
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert float(contrastive.weight(batch)) == 11


def test_neighbours_in_time_are_positives_that_change_the_loss(block):
    generator = np.random.default_rng(2)
    text, video = unit(generator, 6, 2, 16), unit(generator, 6, 2, 16)
    alone, near = (contrastive_in_words(block, text, video, clips) for clips in (-1, 2))
    assert near < alone - 1


@pytest.mark.parametrize("examples", [2, 3])  # of two, a rotation and its reverse are the same
def test_mismatched_video_moves_whole_examples_and_never_an_alike_one(examples):
    block = packed(examples)
    on_device = fakes.on_device(block)
    # the video tower's output, marked by the example that it comes from
    place = np.maximum(block.video_segment_ids - 1, 0)
    owner = np.take_along_axis(block.example_ids, place, axis=1).astype(np.float32)

    @jax.jit
    def met_and_weights(key):
        mismatch = matching.draw_uniform(key, 6, examples)
        video, segments = matching.mismatched_video(
            mismatch, jnp.asarray(owner)[..., None], on_device.video_segment_ids, examples
        )
        weights = matching.mismatched_weights(mismatch, on_device, DISTANCE)
        return video, segments, weights, mismatch.rows[0], mismatch.rotations[0]

    seen = set()
    for seed in range(20):
        video, segments, weights, *first = map(np.asarray, met_and_weights(jax.random.key(seed)))
        seen.add(tuple(map(int, first)))
        for row, example in np.ndindex(6, examples):
            met = np.unique(video[row, segments[row] == example + 1])
            assert met.size == 1 and met[0] != block.example_ids[row, example]
            other = divmod(int(met[0]), examples)
            expected = (
                block.pair_weights[row, example]
                * block.pair_weights[other]
                * (not alike_in_words(block, (row, example), other))
            )
            assert weights[row, example] == expected
    assert len(seen) > 5 and all(row > 0 for row, _ in seen)


def partners_in_words(block, row: int, other_row: int, rotation: int) -> list:
    """((row, example), (row, example)) of the pairs that may be judged when two rows meet."""
    pairs = [((row, e), (other_row, (e - rotation) % 3)) for e in range(3)]
    return [
        (one, other)
        for one, other in pairs
        if block.pair_weights[one]
        and block.pair_weights[other]
        and not alike_in_words(block, one, other)
    ]


def test_hard_partners_are_drawn_in_proportion_to_their_probability():
    block = packed(3)
    generator = np.random.default_rng(4)
    text, video = unit(generator, 6, 3, 16), unit(generator, 6, 3, 16)
    inputs = (jnp.asarray(text), jnp.asarray(video), jnp.asarray(3.0), fakes.on_device(block))
    draws = jax.vmap(lambda key: matching.draw_hard(key, *inputs, DISTANCE))(
        jax.random.split(jax.random.key(0), 4000)
    )
    for row in range(6):
        logits = {}
        for other, rotation in np.ndindex(6, 3):
            if pairs := partners_in_words(block, row, other, rotation):
                cosines = [text[one] @ video[partner] for one, partner in pairs]
                logits[other, rotation] = 3 * 3.0 * np.mean(cosines)
        normaliser = logsumexp(list(logits.values()))
        places = np.asarray(draws.rows)[:, row], np.asarray(draws.rotations)[:, row]
        found = np.histogram2d(*places, bins=[np.arange(7), np.arange(4)])[0] / 4000
        for other, rotation in np.ndindex(6, 3):
            expected = np.exp(logits.get((other, rotation), -np.inf) - normaliser)
            assert found[other, rotation] == pytest.approx(expected, abs=0.03)
    assert found.max() > 2 / 18  # not all alike


def test_hard_partners_weigh_in_a_row_what_the_matched_pairs_do(block):
    generator = np.random.default_rng(4)
    lonely = fakes.block(6)
    lonely.pair_weights[:] = block.pair_weights
    lonely.caption_hashes[:] = block.caption_hashes
    lonely.video_ids[3] = lonely.caption_hashes[:] = 7  # all captions the same: nobody to meet
    for made, rows_with_partner in ((block, 6), (lonely, 0)):
        on_device = fakes.on_device(made)
        text, video = unit(generator, 6, 2, 16), unit(generator, 6, 2, 16)
        inputs = (jnp.asarray(text), jnp.asarray(video), jnp.asarray(100.0), on_device)
        mismatch = matching.draw_hard(jax.random.key(1), *inputs, DISTANCE)
        weights = matching.mismatched_weights(mismatch, on_device, DISTANCE)
        balanced = np.asarray(matching.balanced(weights, on_device))
        expected = made.pair_weights.sum(1) * (np.arange(6) < rows_with_partner)
        np.testing.assert_allclose(balanced.sum(1), expected)
        assert ((balanced > 0) == (np.asarray(weights) > 0)).all()
        total = made.pair_weights.sum() + balanced.sum()
        assert float(matching.hard_weight(on_device, DISTANCE)) == pytest.approx(total)


def test_matching_is_logistic_loss_over_both_kinds_of_pairs(block):
    generator = np.random.default_rng(3)
    matched, mismatched = generator.normal(size=(2, 6, 2)).astype(np.float32)
    mismatch = matching.draw_uniform(jax.random.key(0), 6, 2)
    on_device = fakes.on_device(block)
    weights = matching.mismatched_weights(mismatch, on_device, DISTANCE)
    assert 0 < weights.sum() < 11
    expected = (np.log1p(np.exp(-matched)) * block.pair_weights).sum()
    expected += (np.log1p(np.exp(mismatched)) * np.asarray(weights)).sum()
    found = matching.total(jnp.asarray(matched), jnp.asarray(mismatched), weights, on_device)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    found = matching.uniform_weight(mismatch, on_device, DISTANCE)
    assert float(found) == 11 + weights.sum()


def test_alike_broadcasts(block):
    identity = twins.example_identity(fakes.on_device(block))
    found = np.asarray(twins.alike_pairs(identity, identity, DISTANCE))
    places = [(row, example) for row in range(6) for example in range(2)]
    expected = [[alike_in_words(block, one, other) for other in places] for one in places]
    np.testing.assert_array_equal(found, expected)
