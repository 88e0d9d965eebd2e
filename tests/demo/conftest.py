"""A demo page, and the model behind it."""

import pytest

from tests import colours
from tests.demo import pages
from videobert_jax.weights import backbones


@pytest.fixture(scope="module")
def model(tiny_run):
    made = pages.model(tiny_run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbones, "of_contract", colours.of_contract)
        assert made.reader.extractor is not None  # kept from now on
    return made


@pytest.fixture(scope="module")
def page(model):
    with pages.served(model) as made:
        yield made
