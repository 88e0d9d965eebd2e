"""Attention weights against their formula in NumPy, from the same parameters; words of pieces."""

import dataclasses

import numpy as np
import pytest

from tests import bundles, numpy_network
from tests.inference import models
from tests.inference.models import CLIPS, TEXTS
from videobert_jax.inference import attention_maps
from videobert_jax.inference.model import InputError, PretrainedModel


@pytest.fixture(scope="module")
def model(tiny_run) -> PretrainedModel:
    return models.attending(tiny_run)


@pytest.mark.parametrize(("norm", "share"), [("pre", False), ("post", True)])
def test_weights_are_the_softmax_of_the_parameters(tiny_run, videos, norm, share):
    model = models.attending(tiny_run, norm, share)
    found = model.cross_attention(videos, TEXTS)
    ids = model.tokenize(TEXTS)
    for pair, features in enumerate(videos):
        t, v = len(ids[pair]), len(features)
        attended = numpy_network.attended(model.bundle, features, ids[pair])
        for name, weights in (
            ("text_reads_video", found.text_reads_video[pair, :, :, :t, :v]),
            ("video_reads_text", found.video_reads_text[pair, :, :, :v, :t]),
        ):
            layers = [of for where, of in attended if where == name]
            np.testing.assert_allclose(weights, np.stack(layers), atol=2e-5)
    assert np.ptp(found.text_reads_video[1, :, :, 0], axis=-1).min() > 0.001  # not uniform


def test_rows_sum_to_one_and_padding_is_zero(model, videos):
    found = model.cross_attention(videos, TEXTS)
    assert found.text_reads_video.shape[:2] == (4, 2)
    for pair, (clips, ids) in enumerate(zip(CLIPS, model.tokenize(TEXTS), strict=True)):
        for weights, queries, keys in (
            (found.text_reads_video[pair], len(ids), clips),
            (found.video_reads_text[pair], clips, len(ids)),
        ):
            np.testing.assert_allclose(weights[:, :, :queries].sum(-1), 1, atol=1e-5)
            assert not weights[:, :, queries:].any()
            assert not weights[:, :, :, keys:].any()
    assert found.text_reads_video[0, 0, 0].shape[1] > CLIPS[0]  # there is padding at all


def test_pieces_become_words(model):
    text = "Chopped CARROT na\u00efve \u5305"
    ids = model.tokenize(text)[0]
    words = attention_maps.words_of_pieces(model.tokenizer, ids)
    assert [word.text for word in words] == [
        "[CLS]", "chopped", "carrot", "na\u00efve", "\u5305", "[SEP]"
    ]  # fmt: skip
    assert len(ids) > len(words)  # some word has several pieces
    assert [place for word in words for place in range(word.start, word.stop)] == list(
        range(len(ids))
    )


def test_words_are_read_by_sum_and_read_by_mean():
    words = (attention_maps.Word("a", 0, 1), attention_maps.Word("b", 1, 3))
    weights = np.array([[0.5, 0.25, 0.25], [0.0, 0.75, 0.25]])
    np.testing.assert_array_equal(
        attention_maps.read_words(weights, words), [[0.5, 0.5], [0.0, 1.0]]
    )
    np.testing.assert_array_equal(
        attention_maps.reading_words(weights.T, words), [[0.5, 0.0], [0.25, 0.5]]
    )


def test_words_attend_in_the_layer_and_head_that_are_asked_for(model, videos):
    whole = model.cross_attention(videos[1], TEXTS[1])
    mean = attention_maps.attend(model, videos[1], TEXTS[1])
    assert (mean.layer, mean.head) == (2, None)
    first = attention_maps.attend(model, videos[1], TEXTS[1], layer=1, head=3)
    for found in (mean, first):
        np.testing.assert_allclose(found.text_reads_video.sum(1), 1, atol=1e-5)
        np.testing.assert_allclose(found.video_reads_text.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(
        mean.text_reads_video[0], whole.text_reads_video[0, 1, :, 0].mean(0), atol=1e-6
    )
    np.testing.assert_allclose(
        first.video_reads_text[:, 0], whole.video_reads_text[0, 0, 2, :, 0], atol=1e-6
    )
    for wrong in ({"layer": 3}, {"layer": 0}, {"head": 5}, {"head": 0}):
        with pytest.raises(InputError, match="of the cross-modal encoder; it has 1 to"):
            attention_maps.attend(model, videos[1], TEXTS[1], **wrong)


def test_a_network_without_cross_layers_is_an_error(tiny_run, videos):
    cross = dataclasses.replace(tiny_run.model.cross, num_layers=0)
    network = dataclasses.replace(tiny_run.model, cross=cross)
    bare = PretrainedModel(bundles.tiny(dataclasses.replace(tiny_run, model=network)))
    with pytest.raises(InputError, match="no cross layer"):
        attention_maps.attend(bare, videos[0], TEXTS[0])


def test_a_line_is_right_where_its_own_moment_is_the_most_similar(model, videos):
    found = attention_maps.match(model, videos, TEXTS)
    np.testing.assert_allclose(
        found.cosines,
        [[model.similarity(video, text)[0, 0] for video in videos] for text in TEXTS],
        atol=1e-5,
    )
    matches = attention_maps.Matches(np.array([[0.9, 0.1, 0], [0.5, 0.2, 0], [0, 0.1, 0.3]]))
    assert matches.best_moments.tolist() == [0, 0, 2]
    assert matches.num_right == 2
