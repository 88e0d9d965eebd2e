"""Scores of labels that are said in several ways."""

import numpy as np
import pytest

from videobert_jax.tasks import cloze
from videobert_jax.text import tokenizer as tokenizers

FORMS = {"chop": ["chop", "dice"], "slice": ["slice"], "pat": ["pat", "press", "patting"]}


@pytest.fixture(scope="module")
def candidates():
    said = [form for forms in FORMS.values() for form in forms] * 4
    return cloze.Candidates.of(FORMS, tokenizers.Tokenizer(tokenizers.train(said, 300)))


def test_a_label_has_the_probability_of_all_its_forms(candidates):
    assert candidates.forms == ["chop", "dice", "slice", "pat", "press", "patting"]
    probabilities = np.array([[0.2, 0.15, 0.3, 0.1, 0.05, 0.2], [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]])
    found = candidates.of_labels(np.log(probabilities))
    expected = np.array([[0.35, 0.3, 0.35], [0.6, 0.1, 0.3]])
    np.testing.assert_allclose(np.exp(found), expected, rtol=1e-6)


def test_an_impossible_form_takes_nothing_from_a_label(candidates):
    scores = np.array([[-np.inf, -1.0, -2.0, -np.inf, -np.inf, -3.0]])
    np.testing.assert_allclose(candidates.of_labels(scores), [[-1.0, -2.0, -3.0]])
