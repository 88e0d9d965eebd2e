"""Visual words beside scikit-learn's k-means."""

import numpy as np
import pytest

metrics = pytest.importorskip("sklearn.metrics")

from benchmarks import visual_words as benchmark  # noqa: E402
from videobert_jax.tasks.metrics.clustering import normalized_mutual_information  # noqa: E402


def test_the_benchmark_compares_like_with_like():
    record = benchmark.measure(count=600, depth=2, rounds=1)
    figures = record["figures"]
    assert figures["words"] == 144 and record["ratio"] > 0
    assert 0.75 < figures["error_ratio"] < 1.1  # six fits each: 0.85 to 1.0


def test_mutual_information_is_scikit_learns():
    generator = np.random.default_rng(0)
    classes = generator.integers(14, size=500)
    groups = np.where(generator.random(500) < 0.5, classes, generator.integers(32, size=500))
    expected = metrics.normalized_mutual_info_score(classes, groups)
    assert normalized_mutual_information(groups, classes) == pytest.approx(expected)
