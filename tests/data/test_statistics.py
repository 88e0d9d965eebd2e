import numpy as np
import pytest

from videobert_jax.data import statistics


def test_parts_together_give_the_mean_and_deviation_of_all():
    features = (7 + 2 * np.random.default_rng(0).standard_normal((90, 5))).astype(np.float16)
    parts = [statistics.Moments.of(part) for part in np.split(features, [1, 40])]
    found = statistics.combine(parts, 5).statistics()
    wide = features.astype(np.float64)
    np.testing.assert_allclose(found.mean, wide.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.scale, wide.std(0), rtol=1e-5)
    assert found.mean.dtype == found.scale.dtype == np.float32


def test_damaged_values_are_left_out_and_constant_dimensions_keep_their_size():
    features = np.array([[1, 4, np.nan], [3, 4, 2], [np.inf, 4, 6]], np.float16)
    found = statistics.Moments.of(features).statistics()
    assert found.mean.tolist() == pytest.approx([2, 4, 4])
    assert found.scale.tolist() == pytest.approx([1, 1, 2])


def test_without_a_finite_value_there_are_no_statistics():
    assert statistics.combine([], 3).statistics() is None
    assert statistics.Moments.of(np.full((4, 3), np.nan, np.float16)).statistics() is None
