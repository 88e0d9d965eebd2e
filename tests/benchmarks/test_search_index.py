"""The benchmark of search indexes on a small size: what it says is of the index it made."""

import json

import numpy as np
import pytest

pytest.importorskip("faiss", reason="faiss is not installed")

from benchmarks import search_index
from videobert_jax.search_index import manifest, vectors


def test_the_record_is_of_the_index_that_was_made(tmp_path, monkeypatch):
    sizes = ["--vectors=2500", "--queries=20", "--rounds=1", f"--work={tmp_path / 'w'}"]
    assert search_index.main([*sizes, f"--json={tmp_path / 'out.json'}"]) == 0
    record = json.loads((tmp_path / "out.json").read_text())
    figures = record["figures"]
    found = manifest.read(tmp_path / "w")
    assert record["ratio"] == figures["ours"] / figures["peer"]
    assert figures["vectors"] == found.num_windows == 2500 and figures["kind"] == "exact"
    assert figures["recall_at_10"] == 1.0  # float16 vectors both, so the same answers
    assert 0 < figures["query_seconds_median"] <= figures["query_seconds_p99"]
    assert figures["searched_file_bytes"] == 2500 * 512 * 4 + 45
    assert 2500 * 512 * 2 < figures["shards_bytes"] < 2500 * 512 * 2.1
    assert min(figures["build_peak_bytes"], figures["search_peak_bytes"]) > 1 << 24
    # Stopped, it goes on with the shards that are there; an approximate index is measured too.
    monkeypatch.setattr(vectors, "APPROXIMATE_FROM", 100)
    assert search_index.building.rebuild(tmp_path / "w").kind == "approximate"
    opened = search_index.Index.open(tmp_path / "w")
    given = search_index.queries(2500, 20, 0)
    stored = search_index._stored(tmp_path / "w")
    exact = np.argsort(-given @ stored.T, axis=1)[:, :10]
    assert search_index._recall(opened, given, exact) > 0.8
    assert search_index._recall(opened, given, exact[:, ::-1] + 1) < 0.2


def test_vectors_follow_from_the_seed(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        search_index.make(tmp_path / name, 1200, seed)
    a, b, c = (search_index._stored(tmp_path / name) for name in "abc")
    assert (a == b).all() and not (a == c).all(axis=1).any()
    np.testing.assert_allclose(np.linalg.norm(a, axis=1), 1, atol=2e-3)


def test_sizes_that_say_nothing_are_refused(capsys):
    assert search_index.main(["--vectors=10"]) == 2
    assert "expected 100 and 20 or more" in capsys.readouterr().err
