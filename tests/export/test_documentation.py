import pathlib
import re

import pytest

from tests import bundles
from videobert_jax.export import names
from videobert_jax.models.bundle import ModelBundle

DOCUMENT = pathlib.Path(__file__).resolve().parent.parent.parent / "docs" / "export.md"


@pytest.fixture(scope="module")
def bundle(tiny_run) -> ModelBundle:
    return bundles.tiny(tiny_run)


def test_the_documented_names_and_shapes_are_those_of_an_export(bundle):
    config = bundle.config
    sizes = {
        "d": config.embed_dim,
        "2d": 2 * config.embed_dim,
        "n": config.num_heads,
        "h": config.head_dim,
        "f": config.feed_forward_dim,
        "j": config.joint_dim,
        "w": config.text.vocabulary_size,
        "c": config.video.feature_dim,
        "T": config.text.max_length,
        "V": config.video.max_length,
        "1": 1,
    }
    layers = {
        "text_encoder": config.text.num_layers,
        "video_encoder": config.video.num_layers,
        "cross_encoder": config.cross.num_layers,
    }
    documented = {}
    for name, letters in re.findall(r"^([a-z_]+\.[\w.]+)[ ]*(.*)$", DOCUMENT.read_text(), re.M):
        shape = tuple(sizes[letter] for letter in letters.split())
        for layer in range(layers.get(name.split(".")[0], 1)):
            documented[name.replace("layers.N", f"layers.{layer}")] = shape
    tensors = names.unstack(bundle.variables["params"])
    assert documented == {name: values.shape for name, values in tensors.items()}
