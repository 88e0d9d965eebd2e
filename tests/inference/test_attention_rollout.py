"""Attention rolled out, against a statement in NumPy that runs the network and multiplies its
mixtures, one on the joint sequence a sub-layer."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from tests import bundles, numpy_network
from tests.inference import models
from tests.inference.models import CLIPS, TEXTS
from videobert_jax.inference import attention_maps
from videobert_jax.inference.model import AttentionRollout, InputError, PretrainedModel
from videobert_jax.models import attention_rollout
from videobert_jax.models.config import BertConfig


@pytest.fixture(scope="module")
def model(tiny_run) -> PretrainedModel:
    return models.attending(tiny_run)


def expected_rollout(model: PretrainedModel, features: np.ndarray, ids: list[int]) -> np.ndarray:
    """[t + v, t + v] of one pair: by every sub-layer in order, each place of a row by itself."""
    t, total = len(ids), len(ids) + len(features)
    text, video = slice(0, t), slice(t, total)
    places = {
        "bert": (text, text),
        "text": (text, text),
        "cross_text": (text, text),
        "video": (video, video),
        "cross_video": (video, video),
        "text_reads_video": (text, video),
        "video_reads_text": (video, text),
    }
    found, waiting = np.eye(total), None
    for name, weights in numpy_network.attended(model.bundle, features, ids):
        attention = np.zeros((total, total))
        attention[places[name]] = weights.mean(0)
        if name == "text_reads_video":
            waiting = attention  # the other direction reads the same inputs
            continue
        if name == "video_reads_text":
            attention, waiting = attention + waiting, None
        mixed = 0.5 * attention + 0.5 * np.eye(total)
        found = (mixed / mixed.sum(1, keepdims=True)) @ found
    return found


def joint(blocks: AttentionRollout, pair: int, t: int, v: int) -> np.ndarray:
    return np.block(
        [
            [blocks.text_from_text[pair, :t, :t], blocks.text_from_video[pair, :t, :v]],
            [blocks.video_from_text[pair, :v, :t], blocks.video_from_video[pair, :v, :v]],
        ]
    )


@pytest.mark.parametrize(
    "network",
    [
        {},
        pytest.param({"norm": "post", "share": True}, marks=pytest.mark.long),
        pytest.param({"towers": (0, 3)}, marks=pytest.mark.long),
        pytest.param({"bert": BertConfig(20, 5, 28, 3, "relu", 1e-12)}, marks=pytest.mark.long),
    ],
    ids=["pre_norm", "post_norm", "unequal_towers", "frozen_bert"],
)
def test_it_is_the_product_of_the_mixtures_of_all_layers(tiny_run, videos, network):
    model = models.attending(tiny_run, **network)
    blocks = model.attention_rollout(videos, TEXTS)
    for pair, (features, ids) in enumerate(zip(videos, model.tokenize(TEXTS), strict=True)):
        expected = expected_rollout(model, features, ids)
        found = joint(blocks, pair, len(ids), len(features))
        np.testing.assert_allclose(found, expected, atol=2e-5)
    # It is far from what an even attention would give.
    assert np.ptp(blocks.text_from_video[1, 0, :]) > 0.01


def test_rows_sum_to_one_half_on_each_side_and_padding_is_zero(model, videos):
    blocks = model.attention_rollout(videos, TEXTS)
    sides = (
        (blocks.text_from_text, blocks.text_from_video, [len(of) for of in model.tokenize(TEXTS)]),
        (blocks.video_from_text, blocks.video_from_video, CLIPS),
    )
    assert len(set(sides[0][2])) > 1  # there is padding at all
    for of_text, of_video, lengths in sides:
        for pair, length in enumerate(lengths):
            for block, keys in ((of_text, sides[0][2][pair]), (of_video, CLIPS[pair])):
                np.testing.assert_allclose(block[pair, :length].sum(-1), 0.5, atol=1e-5)
                assert not block[pair, length:].any() and not block[pair, :, keys:].any()


def test_a_query_that_reads_nothing_stays_what_it_is():
    weights = jnp.asarray([[[[0.0, 0.0], [0.3, 0.7]]]])
    np.testing.assert_allclose(
        attention_rollout.mixing(weights)[0, 0], [[1, 0], [0.15, 0.85]], atol=1e-6
    )


def test_words_and_clips_share_what_the_other_side_gave_them(model, videos):
    text, clips = TEXTS[1], videos[1]
    found = model.attention(clips, text, rollout=True)
    assert found.is_rollout and found.head is None
    blocks = model.attention_rollout([clips], [text])
    by_piece = 2 * blocks.text_from_video[0]
    for number, word in enumerate(found.words):
        np.testing.assert_allclose(
            found.text_reads_video[number], by_piece[word.start : word.stop].mean(0), atol=1e-5
        )
        np.testing.assert_allclose(
            found.video_reads_text[:, number],
            2 * blocks.video_from_text[0, :, word.start : word.stop].sum(1),
            atol=1e-5,
        )
    for side in (found.text_reads_video, found.video_reads_text):
        np.testing.assert_allclose(side.sum(1), 1, atol=1e-5)
    last = model.attention(clips, text)
    assert np.abs(last.text_reads_video - found.text_reads_video).max() > 0.01


def test_all_maps_of_many_pairs_are_those_of_each(model, videos):
    everywhere = attention_maps.attend_everywhere(model, videos, TEXTS)
    for features, text, maps in zip(videos, TEXTS, everywhere, strict=True):
        asked = [(of.layer, of.head) for of in maps]
        assert asked == [
            (None, None), *((layer, head) for layer in (1, 2) for head in (None, 1, 2, 3, 4))
        ]  # fmt: skip
        for of in maps:
            alone = model.attention(
                features, text, layer=of.layer, head=of.head, rollout=of.is_rollout
            )
            assert of.words == alone.words
            np.testing.assert_allclose(of.text_reads_video, alone.text_reads_video, atol=1e-5)
            np.testing.assert_allclose(of.video_reads_text, alone.video_reads_text, atol=1e-5)


def test_what_has_no_rollout_is_said(model, videos, tiny_run):
    for also in ({"layer": 1}, {"head": 2}):
        with pytest.raises(InputError, match="ask for one of the two"):
            model.attention(videos[0], TEXTS[0], rollout=True, **also)
    cross = dataclasses.replace(tiny_run.model.cross, num_layers=0)
    network = dataclasses.replace(tiny_run.model, cross=cross)
    bare = PretrainedModel(bundles.tiny(dataclasses.replace(tiny_run, model=network)))
    with pytest.raises(InputError, match="no cross layer"):
        bare.attention_rollout(videos[0], TEXTS[0])
