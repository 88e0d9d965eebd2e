"""Attention weights against their formula in NumPy, from the same parameters; words of pieces."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import bundles, fakes
from videobert_jax.inference import attention_maps
from videobert_jax.inference.model import InputError, PretrainedModel
from videobert_jax.models.videobert import VideoBert

TEXTS = list(bundles.CAPTIONS)
CLIPS = (3, 8, 1, 5)


def load(tiny_run, norm: str = "pre", share: bool = False) -> PretrainedModel:
    """A network of two cross layers that attends sharply: even weights would hide mistakes."""
    cross = dataclasses.replace(tiny_run.model.cross, num_layers=2, share_directions=share)
    network = dataclasses.replace(tiny_run.model, norm=norm, cross=cross)
    bundle = bundles.tiny(dataclasses.replace(tiny_run, model=network))
    sharper = jax.tree_util.tree_map_with_path(
        lambda path, leaf: 12 * leaf if {"query", "key"} & {part.key for part in path} else leaf,
        bundle.variables,
    )
    return PretrainedModel(dataclasses.replace(bundle, variables=sharper))


@pytest.fixture(scope="module")
def model(tiny_run) -> PretrainedModel:
    return load(tiny_run)


@pytest.fixture(scope="module")
def videos() -> list[np.ndarray]:
    generator = np.random.default_rng(3)
    return [generator.normal(size=(n, fakes.FEATURE_DIM)).astype(np.float32) for n in CLIPS]


def layer_norm(values: np.ndarray, params: dict) -> np.ndarray:
    centred = values - values.mean(-1, keepdims=True)
    deviation = np.sqrt(np.square(centred).mean(-1, keepdims=True) + 1e-6)
    return centred / deviation * params["scale"] + params["bias"]


def weights_in_numpy(queries: np.ndarray, keys: np.ndarray, params: dict) -> np.ndarray:
    """softmax(q k^T / sqrt(h)) [n, q, k], head by head."""
    heads = []
    for head in range(params["query"]["kernel"].shape[1]):
        query, key = (
            values @ params[side]["kernel"][:, head] + params[side]["bias"][head]
            for side, values in (("query", queries), ("key", keys))
        )
        scores = np.exp(query @ key.T / np.sqrt(query.shape[-1]))
        heads.append(scores / scores.sum(-1, keepdims=True))
    return np.stack(heads)


def inputs_of_layer(model: PretrainedModel, layer: int, video, text) -> tuple:
    """(text [t, d], video [v, d]) that a cross layer reads: a network of the layers before it.

    Beyond the first layer for post-norm alone, where nothing stands behind the last layer.
    """
    ids = np.array(model.tokenize(text))
    config = model.bundle.config
    shorter = dataclasses.replace(config, cross=dataclasses.replace(config.cross, num_layers=layer))
    params = dict(model.bundle.variables["params"])
    sides = [np.ones(ids.shape, np.int32), np.ones((1, len(video)), np.int32)]
    places = [np.arange(side.shape[1])[None] for side in sides]

    def run(network, params, method, *inputs):
        variables = jax.tree.map(jnp.asarray, {**model.bundle.variables, "params": params})
        apply = jax.jit(functools.partial(network.apply, method=method))
        return apply(variables, *map(jnp.asarray, inputs))

    hidden = np.zeros(sides[1].shape, bool)
    whole = VideoBert(config)
    encoded = (
        run(whole, params, "encode_text", ids, sides[0], places[0]),
        run(whole, params, "encode_video", video[None], sides[1], places[1], hidden),
    )
    if layer:
        assert config.norm == "post"
        params["cross_encoder"] = jax.tree.map(lambda leaf: leaf[:layer], params["cross_encoder"])
        encoded = run(
            VideoBert(shorter), params, "fuse", encoded[0], sides[0], encoded[1], sides[1]
        )
    return tuple(np.asarray(side[0]) for side in encoded)


@pytest.mark.parametrize(
    ("norm", "share", "layer"), [("pre", False, 0), ("post", False, 1), ("post", True, 1)]
)
def test_weights_are_the_softmax_of_the_parameters(tiny_run, videos, norm, share, layer):
    model = load(tiny_run, norm, share)
    found = model.cross_attention(videos, TEXTS)
    stacked = model.bundle.variables["params"]["cross_encoder"]["stack"]["layers"]["layer"]
    params = jax.tree.map(lambda leaf: np.asarray(leaf[layer]), stacked)
    for pair, (features, caption) in enumerate(zip(videos, TEXTS, strict=True)):
        by_text = by_video = inputs_of_layer(model, layer, features, caption)
        if norm == "pre":
            text, video = by_text
            by_text = (
                layer_norm(text, params["text_reads_video_residual"]["norm"]),
                layer_norm(video, params["read_video_norm"]),
            )
            by_video = (
                layer_norm(text, params["read_text_norm"]),
                layer_norm(video, params["video_reads_text_residual"]["norm"]),
            )
        text_reads, video_reads = (
            params["cross_attention" if share else name]
            for name in ("text_reads_video", "video_reads_text")
        )
        t, v = map(len, by_text)
        np.testing.assert_allclose(
            found.text_reads_video[pair, layer, :, :t, :v],
            weights_in_numpy(*by_text, text_reads),
            atol=2e-5,
        )
        np.testing.assert_allclose(
            found.video_reads_text[pair, layer, :, :v, :t],
            weights_in_numpy(*by_video[::-1], video_reads),
            atol=2e-5,
        )
    assert np.ptp(found.text_reads_video[1, layer, :, 0]) > 0.001  # not the uniform distribution


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
