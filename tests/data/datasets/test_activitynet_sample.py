import json
import pathlib

import numpy as np
import pytest

from videobert_jax.data import index, shard_file
from videobert_jax.data.datasets import activitynet_sample

SOURCE = pathlib.Path(__file__).parents[4] / "shared" / "data" / "activitynet"
real = pytest.mark.skipif(not SOURCE.is_dir(), reason="no ActivityNet files at ../shared/data")


@real
def test_ten_videos_and_their_sentences_on_the_clips_of_their_times(tmp_path):
    dataset = activitynet_sample.prepare(SOURCE, tmp_path / "set")
    captions = json.loads((SOURCE / "captions.json").read_text())
    with np.load(SOURCE / "i3d_rgb.npz") as archive:
        features = {name: archive[name] for name in archive.files}
    assert [len(split.videos) for split in dataset.splits.values()] == [8, 2]
    assert sum(map(len, dataset.splits.values())) == 32
    assert not set(dataset.splits["train"].videos) & set(dataset.splits["validation"].videos)
    for split in dataset.splits.values():
        (shard,) = split.shard_paths
        records = shard_file.open_shard(shard, split.shard_records[0]).read_all()
        clips = split.record_format.features(records)
        for video, name in enumerate(split.videos):
            start, count = int(split.record_start[video]), int(split.num_clips[video])
            found = clips[start:].reshape(-1, 1024)[:count]
            np.testing.assert_array_equal(found, features[name].astype(np.float16))
            rows = np.flatnonzero(split.video == video)
            sentences = captions[name]["sentences"]
            assert split.texts(rows) == [sentence.strip() for sentence in sentences]
            for row, (begin, end) in zip(rows, captions[name]["timestamps"], strict=True):
                centres = (np.arange(count) + 0.5) * captions[name]["feature_seconds"]
                inside = np.flatnonzero((centres >= begin) & (centres < end))
                assert split.first_clip[row] == inside[0]
                assert split.clip_count[row] == len(inside)


def write_small_source(folder: pathlib.Path, strides=(2.0, 2.0), dim=1024) -> None:
    captions = {
        f"v{number}": {"timestamps": [[0, 4]], "sentences": ["run"], "feature_seconds": stride}
        for number, stride in enumerate(strides)
    }
    (folder / "captions.json").write_text(json.dumps(captions))
    features = np.ones((5, dim), np.float32)
    np.savez(folder / "i3d_rgb.npz", **dict.fromkeys(captions, features))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "captions.json").write_text("{}"), "an empty dict, expected a JSON dict"),
        (lambda f: (f / "captions.json").write_bytes(b""), "captions.json: the file is empty"),
        (lambda f: np.savez(f / "i3d_rgb.npz", v0=np.ones((5, 1024))), "no features of v1"),
        (lambda f: write_small_source(f, (2.0, 3.0)), "expected one value for all"),
        (lambda f: write_small_source(f, dim=512), r"shape \[5, 512\], expected float16 .clips"),
        (lambda f: (f / "i3d_rgb.npz").unlink(), r"missing there: i3d_rgb\.npz"),
    ],
)
def test_bad_sources_are_named(tmp_path, damage, message):
    write_small_source(tmp_path)
    damage(tmp_path)
    with pytest.raises(index.DatasetError, match=message):
        activitynet_sample.prepare(tmp_path, tmp_path / "set")
