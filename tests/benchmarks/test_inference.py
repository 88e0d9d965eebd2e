"""The two sides of the benchmark of inference are equal, and its record says which case counts."""

import dataclasses

import numpy as np
import pytest

from benchmarks import alternate, inference, inference_sides

pytest.importorskip("torch", reason='needs torch: pip install "videobert-jax[parity]"')
pytest.importorskip("transformers", reason='needs transformers: "videobert-jax[parity]"')

SMALL = dataclasses.replace(
    inference_sides.SIZES, embed_dim=64, num_heads=4, feed_forward_dim=256, feature_dim=32
)


@pytest.fixture(scope="module")
def words():
    return inference_sides.tokenizer()


@pytest.fixture(scope="module")
def peer(words):
    return inference_sides.Peer(SMALL, words, threads=1, compiled=False)


def test_the_towers_have_as_many_parameters(words, peer):
    ours = inference_sides.num_parameters(inference_sides.ours(SMALL, words))
    # Theirs have projections of boxes and biases of queries, keys and values; ours clips' places.
    assert ours == pytest.approx(peer.num_parameters, rel=0.01)


def test_the_peer_reads_no_padding(peer):
    given = inference_sides.drawn(SMALL, 5)
    for encode, inputs in ((peer.encode_text, given.texts), (peer.encode_video, given.videos)):
        together = encode(inputs)
        alone = np.concatenate([encode([each]) for each in inputs])
        np.testing.assert_allclose(together, alone, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)
        assert np.ptp(together, axis=0).max() > 0.01  # inputs are told apart


def test_lengths_are_those_that_are_said(words):
    given = inference_sides.drawn(inference_sides.SIZES, 4096)
    pieces = np.array([len(ids) + 2 for ids in words.encode(given.texts)])
    assert pieces.tolist() == [len(text.split()) + 2 for text in given.texts]
    assert pieces.mean() == pytest.approx(11.6, abs=0.3)
    assert np.mean(list(map(len, given.videos))) == pytest.approx(12.7, abs=0.5)
    full = inference_sides.drawn(inference_sides.SIZES, 2, full=True)
    assert [len(words.encode(full.texts)[0]) + 2, len(full.videos[0])] == [48, 64]


def test_the_ratio_is_the_lesser_one_at_64(words, peer, monkeypatch):
    rates = {
        name: alternate.Rates([ours], {"eager": [1.0], "compiled": [2.0]}, {})
        for name, ours in (
            ("encode_video at 64", 6.0),
            ("encode_text at 64", 5.0),
            ("encode_video at 1", 3.0),
            ("encode_text at 1", 4.0),
        )
    }
    sides = {"ours": inference_sides.ours(SMALL, words), "eager": peer}
    monkeypatch.setattr(inference, "first_call", lambda words: {"seconds": 1.0})
    monkeypatch.setattr(inference, "made", lambda words, threads: sides)
    monkeypatch.setattr(inference, "alternating", lambda sides, rounds: rates)
    record = inference.measure(rounds=1)
    assert record["ratio"] == 2.5 and record["figures"]["of"] == "encode_text at 64"
    assert record["figures"]["ratio_at_1"] == 1.5
    assert record["figures"]["cases"]["encode_video at 64"] == {
        "ratio": 3.0,
        "ours": 6.0,
        "peers": {"eager": 1.0, "compiled": 2.0},
    }
    assert record["figures"]["compiled_peer"] == "not measured: no C++ compiler is here"
