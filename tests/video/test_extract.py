"""Extraction with a stand-in network whose features are known: mean and spread of brightness."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from videobert_jax.schema import ContractMismatch
from videobert_jax.video import clips, decode, extract

pytest.importorskip("av", reason="PyAV is not installed")
SETTINGS = clips.ClipSettings(fps=10.0, frames_per_clip=4, stride_frames=4)


def brightness(variables, frames):
    values = jnp.asarray(frames, jnp.float32)
    mean, deviation = values.mean((1, 2, 3, 4)), values.std((1, 2, 3, 4))
    features = jnp.stack([mean, deviation], axis=1) * variables["scale"]
    return features, features


BACKBONE = extract.Backbone(
    name="brightness",
    layer="output",
    dim=2,
    side=16,
    weights_sha256="0" * 64,
    variables={"scale": np.float32(1)},
    apply=brightness,
)


@pytest.fixture
def movies(tmp_path):
    paths = []
    for name, level in (("dark", 20), ("bright", 200)):
        frames = [np.full((16, 16, 3), level + i, np.uint8) for i in range(23)]
        paths.append(tmp_path / f"{name}.mp4")
        decode.write_frames(paths[-1], frames, 10)
    return paths


def test_features_are_those_of_the_decoded_clips(movies):
    extractor = extract.ClipExtractor(BACKBONE, SETTINGS, batch=4)
    features = extractor.video_features(movies[0])
    frames = np.stack(list(decode.read_frames(movies[0], 10.0, 16))).astype(np.float32)
    expected = [frames[i : i + 4].mean() for i in range(0, 20, 4)]
    assert features.dtype == np.float16
    np.testing.assert_allclose(features[:5, 0], expected, rtol=2e-3)
    assert len(features) == 6  # the last from three frames and a repeated one


def test_a_second_run_keeps_what_is_there(movies, tmp_path):
    output = tmp_path / "features"
    extractor = extract.ClipExtractor(BACKBONE, SETTINGS)
    first, second = extract.extract_videos(extractor, movies, output)
    before = second.read_bytes()
    first.unlink()
    second.write_bytes(before + b"kept")
    extract.extract_videos(extractor, movies, output)
    assert first.exists()
    assert second.read_bytes() == before + b"kept"


def test_features_of_another_contract_are_not_mixed(movies, tmp_path):
    output = tmp_path / "features"
    extract.extract_videos(extract.ClipExtractor(BACKBONE, SETTINGS), movies, output)
    other = dataclasses.replace(BACKBONE, weights_sha256="1" * 64)
    with pytest.raises(ContractMismatch, match="weights_sha256"):
        extract.extract_videos(extract.ClipExtractor(other, SETTINGS), movies, output)


def test_the_contract_says_how_pictures_were_cropped():
    plain = extract.ClipExtractor(BACKBONE, SETTINGS).contract
    assert plain.crop == "shorter side scaled, centre square, 16"
    squashed = dataclasses.replace(BACKBONE, squashed=20)
    other = extract.ClipExtractor(squashed, SETTINGS).contract
    assert other.crop == "both sides scaled to 20, centre square, 16"
