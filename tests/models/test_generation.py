"""Cached, batched search beside beam search in plain Python, which decodes every prefix anew."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import fakes
from videobert_jax.models import generation, next_piece
from videobert_jax.models.generation import SamplingSettings, SearchSettings
from videobert_jax.models.next_piece import CachedDecoder
from videobert_jax.models.videobert import VideoBert

CLS, SEP, FIRST_WORD, NUM_PIECES, PLACES = 2, 3, 5, 60, 7
SEED, END_BIAS = 3, 4.0  # with these captions end at several lengths, and some not at all
GREEDY = SearchSettings(
    beams=1,
    max_pieces=PLACES,
    num_pieces=NUM_PIECES,
    length_penalty=0.0,
    no_repeat_ngram=0,
    repetition_penalty=1.0,
)
BEAMS = dataclasses.replace(GREEDY, beams=3, length_penalty=4.0, no_repeat_ngram=2)
PENALISED = dataclasses.replace(GREEDY, beams=2, repetition_penalty=1.3)
SAMPLED = SamplingSettings(
    max_pieces=PLACES,
    num_pieces=NUM_PIECES,
    no_repeat_ngram=0,
    repetition_penalty=1.2,
    top_p=0.8,
    temperature=1.3,
)


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
def next_logits(network, fused):
    """(row, prefix) -> logits of the next piece, by decoding the whole prefix."""
    model, variables = network

    @jax.jit
    def decode(ids, length, row):
        segments = (jnp.arange(PLACES)[None] <= length).astype(jnp.int32)
        sides = [jax.lax.dynamic_slice_in_dim(side, row, 1) for side in fused]
        targets = (ids[None], segments, jnp.arange(PLACES)[None])
        decoded = model.apply(variables, *targets, *sides, method="decode")
        logits = model.apply(variables, decoded, method="caption_logits")
        return logits[0, length]

    @functools.cache
    def next_piece(row: int, prefix: tuple[int, ...]) -> np.ndarray:
        ids = np.zeros(PLACES, np.int32)
        ids[: len(prefix) + 1] = (CLS, *prefix)
        return np.asarray(decode(ids, len(prefix), row), np.float64)

    return next_piece


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


def penalised(logits: np.ndarray, ids: tuple[int, ...], penalty: float) -> np.ndarray:
    """CTRL's equation 6, in logits: those of pieces that are there already are lowered."""
    lowered = logits.copy()
    for piece in set(ids):
        lowered[piece] = logits[piece] / penalty if logits[piece] > 0 else logits[piece] * penalty
    return lowered


def repeats(ids: tuple[int, ...], ngram: int) -> bool:
    """Whether the last `ngram` pieces stand together somewhere before as well."""
    earlier = [ids[i : i + ngram] for i in range(len(ids) - ngram)]
    return ngram > 0 and ids[-ngram:] in earlier


def search_in_words(next_logits, settings: SearchSettings) -> list[tuple[float, tuple[int, ...]]]:
    """(score, pieces) of the captions, best first: beam search over whole prefixes."""
    k, growing, kept = settings.beams, [(0.0, ())], []

    def scored(total: float, ids: tuple[int, ...]) -> tuple[float, tuple[int, ...]]:
        return total / ((5 + len(ids)) / 6) ** settings.length_penalty, ids

    for _ in range(settings.max_pieces):
        longer = [
            (total + told[piece], (*ids, piece))
            for total, ids in growing
            for told in [log_softmax(penalised(next_logits(ids), ids, settings.repetition_penalty))]
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

    @functools.partial(jax.jit, static_argnames="settings")
    def search(variables, memory, of_memory, settings):
        decoder = CachedDecoder(model, variables, memory, of_memory)
        return generation.search(decoder, of_memory.any(1), settings)

    return lambda settings: jax.device_get(search(variables, *memory_of(fused), settings=settings))


def memory_of(fused):
    text, text_segments, video, video_segments = fused
    segments = jnp.concatenate([text_segments, video_segments], axis=1)
    return jnp.concatenate([text, video], axis=1), segments > 0


@pytest.mark.parametrize(
    "settings", [GREEDY, BEAMS, PENALISED], ids=["greedy", "beams", "repetition penalty"]
)
def test_the_search_finds_what_it_finds_in_words(written, next_logits, settings):
    found, lengths = written(settings), set()
    for row in range(5):
        expected = search_in_words(functools.partial(next_logits, row), settings)
        assert len(expected) == settings.beams
        for beam, (score, ids) in enumerate(expected):
            padded = [*ids, *[0] * (PLACES - len(ids))]
            assert found.ids[row, beam].tolist() == padded, (row, beam)
            assert found.scores[row, beam] == pytest.approx(score, rel=1e-4)
            lengths.add(len(ids) if ids[-1] == SEP else None)
    assert len(lengths) > 2  # some end, at several lengths
    assert (found.scores[5] < -1e8).all() and not found.ids[5].any()


def test_one_beam_takes_the_likeliest_piece(written, next_logits):
    allowed = np.array([piece == SEP or FIRST_WORD <= piece < NUM_PIECES for piece in range(384)])
    for row, ids in enumerate(written(GREEDY).ids[:5, 0]):
        expected: tuple[int, ...] = ()
        while len(expected) < PLACES and expected[-1:] != (SEP,):
            likely = np.where(allowed, next_logits(row, expected), -np.inf)
            expected = (*expected, int(likely.argmax()))
        assert ids[: len(expected)].tolist() == list(expected)


def test_settings_matter_and_bad_ones_are_refused(written, next_logits):
    plain = dataclasses.replace(BEAMS, length_penalty=0.0, no_repeat_ngram=0)
    expected = [
        [search_in_words(functools.partial(next_logits, row), settings) for row in range(5)]
        for settings in (BEAMS, plain, dataclasses.replace(plain, no_repeat_ngram=2))
    ]
    ids = [[[pieces for _, pieces in row] for row in rows] for rows in expected]
    assert ids[0] != ids[2] and ids[1] != ids[2]  # the penalty, the repetition
    for bad in ({"beams": 0}, {"beams": 56}, {"length_penalty": -1.0}, {"max_pieces": 0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            dataclasses.replace(BEAMS, **bad)


def nucleus_in_words(logits: np.ndarray, top_p: float) -> set[int]:
    """Holtzman et al. 2020, section 3.1: the smallest set of likeliest pieces that have top_p."""
    order, kept, mass = np.argsort(-logits, kind="stable"), set(), 0.0
    probabilities = np.exp(log_softmax(logits))
    for piece in order.tolist():
        if mass >= top_p:
            break
        kept.add(piece)
        mass += probabilities[piece]
    return kept


@pytest.fixture(scope="module")
def drawn(network, fused):
    """(seed, numbers of the rows, rows) -> what is drawn, by one program a number of rows."""
    model, variables = network

    @functools.partial(jax.jit, static_argnames="settings")
    def sample(variables, memory, of_memory, settings, draws):
        decoder = CachedDecoder(model, variables, memory, of_memory)
        return generation.sample(decoder, of_memory.any(1), settings, draws)

    def call(seed, numbers, rows=slice(None), settings=SAMPLED):
        sides = [side[rows] for side in memory_of(fused)]
        draws = generation.Draws(np.uint32(seed), np.asarray(numbers, np.int32))
        return np.asarray(sample(variables, *sides, settings=settings, draws=draws))

    return call


@pytest.mark.long
def test_pieces_are_drawn_from_the_nucleus_in_their_shares(drawn, next_logits):
    """First pieces of many draws: only those of the nucleus come, as often as they should."""
    numbers = np.arange(6)
    draws = np.stack([drawn(seed, numbers)[:5] for seed in range(400)])
    allowed = np.array([piece == SEP or 5 <= piece < NUM_PIECES for piece in range(384)])
    for row in range(5):
        logits = np.where(allowed, next_logits(row, ()), -np.inf) / SAMPLED.temperature
        kept = nucleus_in_words(logits, SAMPLED.top_p)
        counts = np.bincount(draws[:, row, 0], minlength=384)
        assert set(np.flatnonzero(counts)) <= kept
        probabilities = np.where(np.isin(np.arange(384), list(kept)), np.exp(logits), 0)
        expected = 400 * probabilities / probabilities.sum()
        chi_squared = ((counts - expected) ** 2 / np.maximum(expected, 1e-9))[list(kept)].sum()
        assert chi_squared < len(kept) + 6 * np.sqrt(2 * len(kept)), row
    for row in range(5):  # later pieces too are of their nuclei, under the repetition penalty
        for ids in draws[:8, row]:
            for place in range(1, PLACES):
                prefix = tuple(ids[:place].tolist())
                if SEP in prefix:
                    assert ids[place] == 0
                    continue
                logits = penalised(next_logits(row, prefix), prefix, SAMPLED.repetition_penalty)
                logits = np.where(allowed, logits, -np.inf) / SAMPLED.temperature
                assert ids[place] in nucleus_in_words(logits, SAMPLED.top_p)
    assert draws[:, :, 0].min() != draws[:, :, 0].max()


def test_a_draw_depends_on_its_seed_and_number_alone(drawn):
    numbers = np.array([7, 3, 9, 12, 40, 5])
    whole = drawn(1, numbers)
    assert np.array_equal(whole, drawn(1, numbers))
    assert not whole[5].any()  # a row of nothing
    order = np.array([4, 2, 0])
    assert np.array_equal(drawn(1, numbers[order], order), whole[order])
    assert not np.array_equal(drawn(2, numbers), whole)
    assert not np.array_equal(drawn(1, numbers + 1), whole)


def test_the_nucleus_is_the_fewest_likeliest_pieces():
    generator = np.random.default_rng(0)
    for top_p in (0.05, 0.5, 0.9, 1.0):
        logits = generator.normal(0.0, 2.0, size=(8, 50)).astype(np.float32)
        found = np.asarray(generation.nucleus(jnp.asarray(logits), top_p))
        for row in range(8):
            kept = set(np.flatnonzero(found[row] > -np.inf).tolist())
            assert kept == nucleus_in_words(logits[row].astype(np.float64), top_p)
    ties = jnp.array([[1.0, 1.0, 0.0, 1.0]])
    assert (np.asarray(generation.nucleus(ties, 0.1)) > -np.inf).tolist() == [[1, 1, 0, 1]]


def test_what_is_given_decides_how_captions_are_written():
    none = dict.fromkeys(("beams", "length_penalty", "top_p", "temperature"))
    rules = {
        "max_pieces": 7,
        "num_pieces": 60,
        "no_repeat_ngram": 0,
        "repetition_penalty": 1.0,
    }
    found = generation.settings(**none, **rules)
    assert found == SearchSettings(**rules, beams=4, length_penalty=1.0)
    found = generation.settings(**none | {"top_p": 0.9}, **rules)
    assert found == SamplingSettings(**rules, top_p=0.9, temperature=1.0)
    for given, message in (
        ({"top_p": 0.9, "beams": 2}, "beams=2 with top_p=0.9"),
        ({"temperature": 2.0}, "temperature=2.0 with top_p=None"),
        ({"top_p": 1.1}, "top_p=1.1"),
        ({"top_p": 0.9, "temperature": 0.0}, "temperature=0.0"),
        ({"repetition_penalty": 0.9}, "repetition_penalty=0.9"),
    ):
        with pytest.raises(ValueError, match=message):
            generation.settings(**none | rules | given)


@pytest.mark.parametrize("length", [0, 3, PLACES - 1])
def test_pieces_that_are_there_are_lowered_whatever_their_sign(length):
    random = np.random.default_rng(length)
    logits = random.normal(0.0, 3.0, size=(2, 3, NUM_PIECES)).astype(np.float32)
    ids = np.zeros((2, 3, PLACES), np.int32)
    ids[:, :, :length] = random.integers(5, 12, size=(2, 3, length))
    written = next_piece.Written(jnp.asarray(length), jnp.asarray(ids), jnp.asarray(ids), ())
    found = next_piece.with_repetition_penalty(jnp.asarray(logits), written, SAMPLED)
    for row, beam in np.ndindex(2, 3):
        there = tuple(ids[row, beam, :length].tolist())
        expected = penalised(logits[row, beam], there, SAMPLED.repetition_penalty)
        np.testing.assert_allclose(found[row, beam], expected, rtol=1e-6)
