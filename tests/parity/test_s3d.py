"""S3D of both public weights against PyTorch networks, random weights and statistics of norms."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("torch", reason="peers: make setup-parity")

import torch

import videobert_jax
from benchmarks import torch_s3d
from videobert_jax.files import digests
from videobert_jax.models import word_tower
from videobert_jax.video.backbones import s3d
from videobert_jax.weights import backbones, errors
from videobert_jax.weights import s3d as weights

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "s3d_kinetics_keys_shapes.json"
PUBLISHED = pathlib.Path("../shared/data/s3d/s3d_howto100m_keys_shapes.json")


@pytest.fixture(scope="module")
def kinetics():
    return torch_s3d.randomize(torch_s3d.KineticsS3D(), seed=0)


@pytest.fixture(scope="module")
def howto100m():
    return torch_s3d.randomize(torch_s3d.HowTo100MS3D(), seed=1)


def arrays(network) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def peer(network, pixels: np.ndarray) -> list[np.ndarray]:
    with torch.inference_mode():
        outputs = network(torch.from_numpy(np.moveaxis(pixels, -1, 1)))
    return [values.numpy() for values in outputs]


def assert_close(found, expected):
    """Within 1e-4 of the expected values' spread over inputs and dimensions."""
    assert expected.std() > 1e-2
    np.testing.assert_allclose(np.asarray(found), expected, rtol=0, atol=1e-4 * expected.std())


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)


def test_the_kinetics_network_is_the_peer(kinetics):
    clips = pixels(1, 22, 224, 224, 3)  # three steps at the end, of which the head weighs one more
    mean, deviation = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
    scaled = ((clips / 255 - mean) / deviation).astype(np.float32)
    variables = weights.convert_kinetics(arrays(kinetics))
    found = jax.jit(s3d.kinetics_features)(variables, clips)
    for ours, theirs in zip(found, peer(kinetics, scaled), strict=True):
        assert_close(ours, theirs)


# An odd number after the second pooling, as squares of 200 pixels have after the third.
@pytest.mark.parametrize("shape", [(2, 8, 64, 64, 3), (1, 12, 72, 104, 3)])
def test_the_howto100m_network_is_the_peer(howto100m, shape):
    clips = pixels(*shape)
    variables, _ = weights.convert_howto100m(arrays(howto100m))
    found = jax.jit(s3d.howto100m_features)(variables, clips)
    theirs = peer(howto100m, (clips / 255).astype(np.float32))
    for ours, expected in zip(found, theirs, strict=True):
        assert_close(ours, expected)


def test_the_text_tower_is_the_peer(howto100m):
    ids = np.random.default_rng(3).integers(0, 66250, (5, 16)).astype(np.int32)
    ids[:4, 7:] = word_tower.PADDING_ID
    _, variables = weights.convert_howto100m(arrays(howto100m))
    with torch.inference_mode():
        expected = howto100m.text_module(torch.from_numpy(ids)).numpy()
    assert_close(word_tower.WordTower().apply(variables, jnp.asarray(ids)), expected)


def test_the_peers_have_the_published_names_and_shapes(kinetics, howto100m):
    """So that parity with them says something of the published files."""
    shapes = {name: list(values.shape) for name, values in arrays(kinetics).items()}
    assert shapes == json.loads(GOLDEN.read_text())
    if not PUBLISHED.exists():
        pytest.skip(f"{PUBLISHED} is not there: real data is optional")
    shapes = {name: list(values.shape) for name, values in arrays(howto100m).items()}
    assert shapes == json.loads(PUBLISHED.read_text())


def test_the_published_form_of_a_file_is_a_search_model(howto100m, tmp_path):
    """From the file that torch.save writes to vectors, against the peer."""
    torch.save(howto100m.state_dict(), tmp_path / "s3d.pth")
    words = np.array([f"word{i}" for i in range(1, 66250)])
    np.save(tmp_path / "words.npy", words)
    model = videobert_jax.load(tmp_path / "s3d.pth", vocabulary=tmp_path / "words.npy")
    clips = pixels(2, 4, 32, 32, 3)
    _, expected = peer(howto100m, (clips / 255).astype(np.float32))
    assert_close(model.encode_video(clips), expected)
    ids = np.array([[7, 66249] + [0] * 14])
    with torch.inference_mode():
        theirs = howto100m.text_module(torch.from_numpy(ids)).numpy()
    assert_close(model.encode_text("Word7 and word66249, word66250"), theirs)
    assert model.weights_sha256 == digests.sha256_file(tmp_path / "s3d.pth")


def test_backbones_are_loaded_from_files(kinetics, howto100m, tmp_path):
    for name, network in (("s3d_kinetics", kinetics), ("s3d_howto100m", howto100m)):
        path = tmp_path / f"{name}.pth"
        torch.save(network.state_dict(), path)
        backbone, settings = backbones.load_backbone(name, path)
        assert backbone.weights_sha256 == digests.sha256_file(path) and backbone.dim == 1024
        clip = jax.ShapeDtypeStruct((2, settings.frames_per_clip, 224, 224, 3), np.uint8)
        features, _ = jax.eval_shape(backbone.apply, backbone.variables, clip)
        assert features.shape == (2, 1024)
    torch.save([1, 2], path)
    with pytest.raises(errors.WeightsError, match="no state dict"):
        backbones.load_backbone("s3d_kinetics", path)
    with pytest.raises(errors.WeightsError, match="is not there; fetch it from https"):
        weights.load_search(tmp_path / "absent.pth")
