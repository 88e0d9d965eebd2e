import math

import numpy as np
import pytest

from videobert_jax.tasks.metrics.clustering import normalized_mutual_information


def test_equal_and_independent_groupings():
    classes = np.arange(60) % 5
    assert normalized_mutual_information(7 - classes, classes) == pytest.approx(1.0)
    assert normalized_mutual_information(np.arange(60) // 5 % 2, classes) == pytest.approx(
        0, abs=0.02
    )
    assert normalized_mutual_information(np.zeros(60, int), classes) == 0.0


def test_a_case_by_hand():
    # Groups {0, 1} and {2, 3} of classes 0, 0, 0, 1: the first tells the class, the second not.
    found = normalized_mutual_information(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1]))
    of_classes = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    information = of_classes - 0.5 * math.log(2)
    assert found == pytest.approx(2 * information / (math.log(2) + of_classes))
