"""Cached, batched search beside beam search in plain Python, which decodes every prefix anew."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import fakes
from videobert_jax.models import generation
from videobert_jax.models.generation import SearchSettings
from videobert_jax.models.videobert import VideoBert

CLS, SEP, FIRST_WORD, NUM_PIECES, PLACES = 2, 3, 5, 60, 7
SEED, END_BIAS = 3, 4.0  # with these captions end at several lengths, and some not at all
GREEDY = SearchSettings(1, PLACES, NUM_PIECES, length_penalty=0.0, no_repeat_ngram=0)
BEAMS = SearchSettings(3, PLACES, NUM_PIECES, length_penalty=4.0, no_repeat_ngram=2)


@pytest.fixture(scope="module")
def network(tiny_model_config):
    """A decoder of random weights that finds few pieces likely, [SEP] among them."""
    config = dataclasses.replace(
        tiny_model_config, decoder=dataclasses.replace(tiny_model_config.decoder, num_layers=2)
    )
    model, generator = VideoBert(config), np.random.default_rng(SEED)
    init = functools.partial(model.init, block=fakes.on_device(fakes.block(1)))
    structs = nn.unbox(jax.eval_shape(init, jax.random.key(0)))["params"]
    params = {
        module: jax.tree.map(lambda leaf: 0.3 * generator.normal(size=leaf.shape), structs[module])
        for module in ("decoder", "text_embedding")
    }
    head = params["decoder"]["head"]
    head["norm"] = {name: 7.0 * leaf for name, leaf in head["norm"].items()}
    head["bias"][SEP] += END_BIAS
    return model, {"params": jax.tree.map(functools.partial(jnp.asarray, dtype=np.float32), params)}


@pytest.fixture(scope="module")
def fused(network):
    """Fused sides of six examples: with both, with either alone, the last with none."""
    generator, dim = np.random.default_rng(0), network[0].config.embed_dim
    text = np.arange(4)[None] < np.array([4, 2, 3, 0, 1, 0])[:, None]
    video = np.arange(5)[None] < np.array([5, 3, 0, 4, 2, 0])[:, None]
    values = [
        generator.normal(size=(*side.shape, dim)).astype(np.float32) for side in (text, video)
    ]
    sides = values[0], text.astype(np.int32), values[1], video.astype(np.int32)
    return tuple(map(jnp.asarray, sides))


@pytest.fixture(scope="module")
def log_probabilities(network, fused):
    """(row, prefix) -> log-probabilities of the next piece, by decoding the whole prefix."""
    model, variables = network

    @jax.jit
    def decode(ids, length, row):
        segments = (jnp.arange(PLACES)[None] <= length).astype(jnp.int32)
        sides = [jax.lax.dynamic_slice_in_dim(side, row, 1) for side in fused]
        targets = (ids[None], segments, jnp.arange(PLACES)[None])
        decoded = model.apply(variables, *targets, *sides, method="decode")
        logits = model.apply(variables, decoded, method="caption_logits")
        return jax.nn.log_softmax(logits[0, length])

    @functools.cache
    def next_piece(row: int, prefix: tuple[int, ...]) -> np.ndarray:
        ids = np.zeros(PLACES, np.int32)
        ids[: len(prefix) + 1] = (CLS, *prefix)
        return np.asarray(decode(ids, len(prefix), row), np.float64)

    return next_piece


def repeats(ids: tuple[int, ...], ngram: int) -> bool:
    """Whether the last `ngram` pieces stand together somewhere before as well."""
    earlier = [ids[i : i + ngram] for i in range(len(ids) - ngram)]
    return ngram > 0 and ids[-ngram:] in earlier


def search_in_words(next_piece, settings: SearchSettings) -> list[tuple[float, tuple[int, ...]]]:
    """(score, pieces) of the captions, best first: beam search over whole prefixes."""
    k, growing, kept = settings.beams, [(0.0, ())], []

    def scored(total: float, ids: tuple[int, ...]) -> tuple[float, tuple[int, ...]]:
        return total / ((5 + len(ids)) / 6) ** settings.length_penalty, ids

    for _ in range(settings.max_pieces):
        longer = [
            (total + next_piece(ids)[piece], (*ids, piece))
            for total, ids in growing
            for piece in (SEP, *range(FIRST_WORD, settings.num_pieces))
            if not repeats((*ids, piece), settings.no_repeat_ngram)
        ]
        longer.sort(reverse=True)
        kept += [scored(*found) for found in longer[:k] if found[1][-1] == SEP]
        kept = sorted(kept, reverse=True)[:k]
        growing = [found for found in longer if found[1][-1] != SEP][:k]
        if len(kept) == k:
            return kept
    unended = sorted((scored(*found) for found in growing), reverse=True)
    return (kept + unended)[:k]


@pytest.fixture(scope="module")
def written(network, fused):
    """Settings -> what is written for all rows at once."""
    model, variables = network
    jitted = jax.jit(functools.partial(generation.write, model), static_argnames="settings")
    return lambda settings: jax.device_get(jitted(variables, *fused, settings=settings))


@pytest.mark.parametrize("settings", [GREEDY, BEAMS], ids=["greedy", "beams"])
def test_the_search_finds_what_it_finds_in_words(written, log_probabilities, settings):
    found, lengths = written(settings), set()
    for row in range(5):
        expected = search_in_words(functools.partial(log_probabilities, row), settings)
        assert len(expected) == settings.beams
        for beam, (score, ids) in enumerate(expected):
            padded = [*ids, *[0] * (PLACES - len(ids))]
            assert found.ids[row, beam].tolist() == padded, (row, beam)
            assert found.scores[row, beam] == pytest.approx(score, rel=1e-4)
            lengths.add(len(ids) if ids[-1] == SEP else None)
    assert len(lengths) > 2  # some end, at several lengths
    assert (found.scores[5] < -1e8).all() and not found.ids[5].any()


def test_one_beam_takes_the_likeliest_piece(written, log_probabilities):
    allowed = np.array([piece == SEP or FIRST_WORD <= piece < NUM_PIECES for piece in range(384)])
    for row, ids in enumerate(written(GREEDY).ids[:5, 0]):
        expected: tuple[int, ...] = ()
        while len(expected) < PLACES and expected[-1:] != (SEP,):
            likely = np.where(allowed, log_probabilities(row, expected), -np.inf)
            expected = (*expected, int(likely.argmax()))
        assert ids[: len(expected)].tolist() == list(expected)


def test_settings_matter_and_bad_ones_are_refused(written, log_probabilities):
    plain = dataclasses.replace(BEAMS, length_penalty=0.0, no_repeat_ngram=0)
    expected = [
        [search_in_words(functools.partial(log_probabilities, row), settings) for row in range(5)]
        for settings in (BEAMS, plain, dataclasses.replace(plain, no_repeat_ngram=2))
    ]
    ids = [[[pieces for _, pieces in row] for row in rows] for rows in expected]
    assert ids[0] != ids[2] and ids[1] != ids[2]  # the penalty, the repetition
    for bad in ({"beams": 0}, {"beams": 56}, {"length_penalty": -1.0}, {"max_pieces": 0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            dataclasses.replace(BEAMS, **bad)
