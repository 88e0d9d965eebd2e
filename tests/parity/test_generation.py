"""Captions by Hugging Face's rules and `generate`, of a decoder with the same parameters."""

import argparse

import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from benchmarks import generation as benchmark  # noqa: E402
from videobert_jax.models import generation, next_piece  # noqa: E402
from videobert_jax.models.next_piece import CachedDecoder, WritingRules, Written  # noqa: E402

SIZES = {
    "layers": 2,
    "embed_dim": 32,
    "heads": 4,
    "vocabulary": 128,
    "rows": 6,
    "memory": 5,
    "beams": 3,
    "length": 9,
}
PIECES, PLACES = 128, 9


def beginnings(length: int) -> Written:
    """Six rows of two beginnings of few different pieces."""
    generator = np.random.default_rng(length)
    ids = np.zeros((6, 2, PLACES), np.int32)
    ids[:, :, :length] = generator.integers(5, 10, (6, 2, length))
    return Written(jnp.asarray(length), jnp.asarray(ids), jnp.zeros_like(ids), ())


def rules(**changes) -> WritingRules:
    given = {"no_repeat_ngram": 0, "repetition_penalty": 1.0} | changes
    return WritingRules(max_pieces=PLACES, num_pieces=PIECES, **given)


@pytest.mark.parametrize("length", [1, 2, 5, 8])
def test_rules_are_those_of_the_logits_processors(length):
    logits = np.random.default_rng(0).normal(0, 3, (6, 2, PIECES)).astype(np.float32)
    written = beginnings(length)
    ids = torch.from_numpy(np.array(written.ids[:, :, :length])).reshape(12, length).long()
    scores = torch.from_numpy(logits).reshape(12, PIECES)
    processor = transformers.RepetitionPenaltyLogitsProcessor(1.7)
    expected = processor(ids, scores.clone()).numpy().reshape(logits.shape)
    penalised = rules(repetition_penalty=1.7)
    found = next_piece.with_repetition_penalty(jnp.asarray(logits), written, penalised)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    for ngram in (1, 2, 3):
        blocked = transformers.NoRepeatNGramLogitsProcessor(ngram)(ids, scores.clone()).numpy()
        allowed = next_piece.allowed(written, rules(no_repeat_ngram=ngram), PIECES)
        words = np.broadcast_to(np.asarray(allowed), logits.shape)[..., 5:]
        assert np.array_equal(words, np.isfinite(blocked).reshape(logits.shape)[..., 5:])


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.95])
def test_the_nucleus_is_that_of_the_logits_warper(top_p):
    logits = np.random.default_rng(1).normal(0, 2, (40, PIECES)).astype(np.float32)
    warped = transformers.TopPLogitsWarper(top_p)(None, torch.from_numpy(logits)).numpy()
    found = np.asarray(generation.nucleus(jnp.asarray(logits), top_p))
    assert np.array_equal(np.isfinite(found), np.isfinite(warped))


@pytest.mark.parametrize(("beams", "end_bias"), [(1, 0.0), (3, -1e4), (3, 2.0)])
def test_beam_search_writes_what_generate_writes(beams, end_bias):
    arguments = argparse.Namespace(**SIZES | {"beams": beams})
    config, params = benchmark.network(arguments)
    head = params["decoder"]["head"]
    head["bias"] = head["bias"].at[benchmark.END].set(end_bias)
    head["norm"]["scale"] = 7.0 * head["norm"]["scale"]  # few pieces are likely
    generator = np.random.default_rng(2)
    memory = jnp.asarray(3 * generator.normal(size=(6, 5, 32)).astype(np.float32))
    of_memory = jnp.asarray(np.arange(5)[None] < generator.integers(2, 6, size=(6, 1)))
    ours = benchmark.ours(arguments, CachedDecoder, config)({"params": params}, memory, of_memory)
    theirs = benchmark.peers(arguments, config, params)(memory, of_memory)
    assert np.array_equal(ours[:, : theirs.shape[1]], theirs)
    assert not ours[:, theirs.shape[1] :].any()
    assert len(np.unique(ours, axis=0)) > 2
