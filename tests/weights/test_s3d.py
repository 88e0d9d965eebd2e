"""Every array of the published S3D files finds its place, and no other file does."""

import json
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videobert_jax.models import word_tower
from videobert_jax.video.backbones import inception, s3d
from videobert_jax.weights import errors
from videobert_jax.weights import s3d as weights

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "s3d_kinetics_keys_shapes.json"
PUBLISHED = pathlib.Path("../shared/data/s3d/s3d_howto100m_keys_shapes.json")


def filled(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """An array a name, each of a value of its own."""
    return {
        name: np.full(shape, 1 + i / len(shapes), np.float32)
        for i, (name, shape) in enumerate(shapes.items())
    }


def made_howto100m_shapes() -> dict[str, list[int]]:
    """Names and shapes as the paper's layout gives them."""
    shapes: dict[str, list[int]] = {}

    def unit(path: str, c: int, c2: int, *kernels: tuple[int, int, int]) -> None:
        for number, kernel in enumerate(kernels, start=1):
            shapes[f"{path}.conv{number}.weight"] = [c2, c if number == 1 else c2, *kernel]
            for name in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"{path}.bn{number}.{name}"] = [c2]
            shapes[f"{path}.bn{number}.num_batches_tracked"] = []

    def dense(path: str, c: int, c2: int) -> None:
        shapes.update({f"{path}.weight": [c2, c], f"{path}.bias": [c2]})

    point, separable = ((1, 1, 1),), ((1, 3, 3), (3, 1, 1))
    unit("conv1", 24, 64, (2, 4, 4))
    unit("conv_2b", 64, 64, *point)
    unit("conv_2c", 64, 192, *separable)
    dense("gating.fc", 192, 192)
    width = 192
    for name, (c0, c1a, c1b, c2a, c2b, c3) in inception.MIXED_CHANNELS.items():
        path = name.lower()
        for place, c, c2, kernels in (
            ("b0", width, c0, point),
            ("b1_a", width, c1a, point),
            ("b1_b", c1a, c1b, separable),
            ("b2_a", width, c2a, point),
            ("b2_b", c2a, c2b, separable),
            ("b3_b", width, c3, point),
        ):
            unit(f"{path}.conv_{place}", c, c2, *kernels)
        for number, c in enumerate((c0, c1b, c2b, c3)):
            dense(f"{path}.gating_b{number}.fc", c, c)
        width = c0 + c1b + c2b + c3
    dense("fc", 1024, 512)
    shapes["text_module.word_embd.weight"] = [66250, 300]
    dense("text_module.fc1", 300, 2048)
    dense("text_module.fc2", 2048, 512)
    return shapes


def count(variables: dict) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables))


def test_torchvisions_names_are_all_consumed():
    shapes = json.loads(GOLDEN.read_text())
    assert len(shapes) == 464
    variables = weights.convert_kinetics(filled(shapes))
    assert count(variables) == count(s3d.parameter_structs(s3d.KineticsS3D))


def test_made_howto100m_names_are_all_consumed():
    shapes = made_howto100m_shapes()
    assert len(shapes) == 537
    video, text = weights.convert_howto100m(filled(shapes))
    assert count(video) == count(s3d.parameter_structs(s3d.HowTo100MS3D))
    assert text["params"]["words"]["embedding"].shape == (66250, 300)


def test_the_published_howto100m_names_are_all_consumed():
    if not PUBLISHED.exists():
        pytest.skip(f"{PUBLISHED} is not there: real data is optional")
    shapes = json.loads(PUBLISHED.read_text())
    assert shapes == made_howto100m_shapes()
    assert sum(map(math.prod, shapes.values())) == 31_232_500
    weights.convert_howto100m(filled(shapes))


def test_the_norm_is_folded_into_the_convolution():
    generator = np.random.default_rng(0)
    arrays = {
        "c.weight": generator.normal(size=(3, 5, 1, 1, 1)),
        "n.weight": generator.uniform(0.5, 2, 3),
        "n.bias": generator.normal(size=3),
        "n.running_mean": generator.normal(size=3),
        "n.running_var": generator.uniform(0.01, 0.1, 3),
        "n.num_batches_tracked": np.array(7),
    }
    unit = weights._Arrays(arrays, epsilon=1e-2).unit("c", "n")
    inputs = generator.normal(size=(4, 5))
    out = inputs @ arrays["c.weight"].reshape(3, 5).T - arrays["n.running_mean"]
    out = out / np.sqrt(arrays["n.running_var"] + 1e-2) * arrays["n.weight"] + arrays["n.bias"]
    np.testing.assert_allclose(inputs @ unit["kernel"][0, 0, 0] + unit["bias"], out, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features.2.0.weight": None}, "no array features.2.0.weight"),
        ({"head.bias": np.zeros(3)}, r"1 arrays that the network has no place for \(head.bias\)"),
        ({"features.2.1.bias": np.full(64, np.nan, np.float32)}, "features.2.1.bias has NaN"),
        ({"features.2.1.running_var": np.full(64, -1.0)}, "running_var is negative"),
        ({"features.2.1.bias": np.zeros(65)}, r"features.2.0.weight has the shape \[64, 64, 1"),
        ({"classifier.1.bias": np.zeros(700)}, r"'bias'.* \[700\], expected \[400\]"),
    ],
)
def test_another_file_is_refused(change, message):
    arrays = {**filled(json.loads(GOLDEN.read_text())), **change}
    arrays = {name: values for name, values in arrays.items() if values is not None}
    with pytest.raises(errors.WeightsError, match=message):
        weights.convert_kinetics(arrays)


def test_the_pixels_of_a_block_become_channels():
    """In the order frame, row, column, colour, which the published stem's kernel reads."""
    clips = jax.random.normal(jax.random.key(0), (2, 4, 6, 8, 3))
    blocks = np.asarray(s3d.space_to_depth(clips))
    assert blocks.shape == (2, 2, 3, 4, 24)
    np.testing.assert_array_equal(blocks[1, 1, 2, 3, 13], clips[1, 3, 4, 6, 1])


def test_inputs_that_a_network_cannot_take_are_refused():
    clip = jax.ShapeDtypeStruct((1, 12, 224, 224, 3), np.float32)
    with pytest.raises(ValueError, match="frames >= 14"):
        jax.eval_shape(s3d.KineticsS3D().init, jax.random.key(0), clip)
    clip = jax.ShapeDtypeStruct((1, 8, 225, 224, 3), np.float32)
    with pytest.raises(ValueError, match="even numbers"):
        jax.eval_shape(s3d.HowTo100MS3D().init, jax.random.key(0), clip)


def test_padding_is_a_word_to_the_text_tower():
    ids = jnp.array([[5, 9, 0, 0]])
    variables = word_tower.WordTower().init(jax.random.key(0), ids)
    whole = word_tower.WordTower().apply(variables, ids)
    cut = word_tower.WordTower().apply(variables, ids[:, :2])
    assert not np.allclose(whole, cut)
