"""Features of files, frames and arrays, and which of them are refused."""

import dataclasses
import json
import warnings

import numpy as np
import pytest

import videobert_jax
from tests import bundles, colours, fakes
from videobert_jax.files.errors import ArrayFileError
from videobert_jax.inference.inputs import ClipFeatures, Frames, InputError, InputWarning
from videobert_jax.inference.model import PretrainedModel
from videobert_jax.schema import ContractMismatch
from videobert_jax.video import decode
from videobert_jax.weights import backbones


@pytest.fixture
def bundle(tiny_run, monkeypatch):
    monkeypatch.setattr(backbones, "of_contract", colours.of_contract)
    return dataclasses.replace(bundles.tiny(tiny_run), contract=colours.CONTRACT)


@pytest.fixture
def model(bundle) -> PretrainedModel:
    return PretrainedModel(bundle)


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """Frames of one colour each, which compression keeps."""
    tones = np.random.default_rng(seed).integers(0, 256, (count // 8, 1, 1, 3))
    one = np.repeat(tones, 8, axis=0).astype(np.uint8)
    return np.broadcast_to(one, (len(one), colours.SIDE, colours.SIDE, 3)).copy()


def test_frames_are_extracted_at_the_rate_of_the_contract(model):
    pytest.importorskip("av", reason="PyAV is not installed")
    pixels = pictures(40)
    (found,) = model.features(Frames(pixels, 8))
    np.testing.assert_allclose(found, colours.features(pixels), atol=2e-2)
    (faster,) = model.features(videobert_jax.Frames(np.repeat(pixels, 3, axis=0), fps=24.0))
    np.testing.assert_array_equal(faster, found)
    (slower,) = model.features(Frames(pixels[::2], 4))
    np.testing.assert_array_equal(slower, found)


def test_a_video_file_is_extracted_like_its_frames(model, tmp_path):
    pytest.importorskip("av", reason="PyAV is not installed")
    pixels = np.repeat(pictures(48), 3, axis=0)
    movie = tmp_path / "a.mp4"
    decode.write_frames(movie, pixels, 24)
    decoded = np.stack(list(decode.read_frames(movie, 24, colours.SIDE)))
    of_file, of_frames = model.features([movie, Frames(decoded, 24)])
    assert of_file.shape == (6, fakes.FEATURE_DIM) and of_file.dtype == np.float32
    np.testing.assert_array_equal(of_file, of_frames)
    assert np.abs(of_file - colours.features(pictures(48))).max() < 0.1 < np.ptp(of_file)
    np.testing.assert_array_equal(model.encode_video(str(movie)), model.encode_video(of_file))


def test_a_file_without_pictures_or_too_long_is_refused(bundle, tmp_path):
    av = pytest.importorskip("av", reason="PyAV is not installed")
    model = PretrainedModel(bundle, maximum_seconds=3)
    no_video = tmp_path / "no.mp4"
    no_video.write_text("not a video at all")
    with pytest.raises(decode.VideoError, match="no.mp4 cannot be opened as video"):
        model.encode_video(no_video)
    with pytest.raises(decode.VideoError, match="missing.mp4 is not there"):
        model.encode_video(tmp_path / "missing.mp4")
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=16_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), "fltp", "mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(decode.VideoError, match="sound.mp4 has no video stream"):
        model.encode_video(sound)
    long = tmp_path / "long.mp4"
    decode.write_frames(long, pictures(32), 8)
    with pytest.raises(InputError, match=r"long.mp4 lasts 4 s or more; expected 3 s at most"):
        model.encode_video(long)
    with pytest.raises(InputError, match="video 0 lasts 4 s"):
        model.encode_video(Frames(pictures(32), 8))


def test_a_file_that_is_longer_than_it_claims_is_refused(bundle, tmp_path, monkeypatch):
    pytest.importorskip("av", reason="PyAV is not installed")
    long = tmp_path / "long.mp4"
    decode.write_frames(long, pictures(48), 8)
    monkeypatch.setattr(decode, "duration", lambda path: 0.0)
    with pytest.raises(InputError, match="lasts 3 s or more; expected 3 s"):
        PretrainedModel(bundle, maximum_seconds=3).encode_video(long)


@pytest.mark.parametrize(
    ("pixels", "fps", "message"),
    [
        (np.zeros((8, 4, 4, 3), np.float32), 8, r"frames of float32 \[8, 4, 4, 3\]"),
        (np.zeros((8, 4, 4), np.uint8), 8, r"expected uint8 RGB"),
        (np.zeros((0, 4, 4, 3), np.uint8), 8, r"frames of uint8 \[0, 4, 4, 3\]"),
        (np.zeros((8, 4, 4, 3), np.uint8), 0, "0 frames a second"),
    ],
)
def test_what_are_no_frames_is_refused(model, pixels, fps, message):
    with pytest.raises(InputError, match=message):
        model.features(Frames(pixels, fps))


def test_the_backbone_has_to_be_the_contracts(tiny_run, bundle, tmp_path, monkeypatch):
    pytest.importorskip("av", reason="PyAV is not installed")
    frames = Frames(pictures(16), 8)
    other = dataclasses.replace(colours.CONTRACT, weights_sha256="d" * 64)
    with pytest.raises(ContractMismatch, match="weights_sha256: the colours of this package"):
        PretrainedModel(dataclasses.replace(bundle, contract=other)).encode_video(frames)
    monkeypatch.undo()
    with pytest.raises(backbones.BackboneError, match="'colours', which is none of this package"):
        PretrainedModel(bundle).encode_video(frames)
    s3d = dataclasses.replace(colours.CONTRACT, backbone="s3d_kinetics400")
    with pytest.raises(backbones.BackboneError, match="needs the file of its weights; fetch it"):
        PretrainedModel(dataclasses.replace(bundle, contract=s3d)).encode_video(frames)
    absent = tmp_path / "absent.pth"
    model = PretrainedModel(dataclasses.replace(bundle, contract=s3d), backbone_weights=absent)
    with pytest.raises(backbones.BackboneError, match="absent.pth, the weights of s3d_kinetics"):
        model.encode_video(frames)


def test_files_of_features_are_compared_with_the_contract(model, tmp_path):
    features = np.random.default_rng(0).normal(size=(9, fakes.FEATURE_DIM)).astype(np.float16)
    np.save(tmp_path / "a.npy", features)
    np.savez(tmp_path / "b.npz", features=features, times=np.arange(9))
    np.savez(tmp_path / "c.npz", x=features)
    np.savez(tmp_path / "d.npz", x=features, y=features)
    with pytest.raises(InputError, match="contract.json is not there"):
        model.features(tmp_path / "a.npy")
    contract = tmp_path / "contract.json"
    contract.write_text(json.dumps(colours.CONTRACT.to_json()))
    for found in model.features([tmp_path / name for name in ("a.npy", "b.npz", "c.npz")]):
        np.testing.assert_array_equal(found, features.astype(np.float32))
    with pytest.raises(InputError, match="d.npz has the arrays x, y"):
        model.features(tmp_path / "d.npz")
    np.save(tmp_path / "a.npy", features[:, :-1])
    with pytest.raises(InputError, match=r"shape \[9, 23\], expected \[clips, 24\]"):
        model.features(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_bytes(b"no array")
    with pytest.raises(ArrayFileError, match="a.npy"):
        model.features(tmp_path / "a.npy")
    contract.write_text(json.dumps(colours.CONTRACT.to_json() | {"fps": 16.0}))
    with pytest.raises(ContractMismatch, match="fps: .*b.npz has 16.0"):
        model.features(tmp_path / "b.npz")
    for damaged in ("{", "[]", "3", json.dumps({"fps": 1})):
        contract.write_text(damaged)
        with pytest.raises((InputError, ContractMismatch), match="contract"):
            model.features(tmp_path / "b.npz")


def test_a_model_of_the_kitchen_warns_once_of_other_video(bundle, tmp_path):
    pytest.importorskip("av", reason="PyAV is not installed")
    datasets = [{"name": "kitchen"}, {"name": "kitchen_captions"}]
    features = np.zeros((3, fakes.FEATURE_DIM), np.float32)
    own, other = tmp_path / "kitchen_0003.mp4", tmp_path / "other.mp4"
    for path in (own, other):
        decode.write_frames(path, pictures(16), 8)
    half_known = ClipFeatures(features, dataclasses.replace(colours.CONTRACT, crop="unknown"))

    def warned(names: list, *videos) -> int:
        made = PretrainedModel(dataclasses.replace(bundle, trained_on={"datasets": names}))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for video in videos:
                made.features(video)
        return sum(issubclass(one.category, InputWarning) for one in caught)

    known = ClipFeatures(features, colours.CONTRACT)
    assert warned(datasets, own, features, known) == 0
    assert warned(datasets, other, other, half_known) == 1
    assert warned(datasets, Frames(pictures(16), 8)) == 1
    assert warned(datasets, half_known) == 1
    assert warned([*datasets, {"name": "youcook2"}], other, half_known) == 0
