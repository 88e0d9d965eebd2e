"""Making the corpus: stopped at any video it goes on, and whole shards are never made again."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("PIL", reason="Pillow is not installed")
pytest.importorskip("av", reason="PyAV is not installed")

from videobert_jax.kitchen import assets, corpus, extraction, rendering
from videobert_jax.video import extract

COUNT, SIZE = 5, 2


class Stopped(Exception):
    """A stop in the middle of the work."""


class FakeExtractor(extract.ClipExtractor):
    """Features of three dimensions that follow from the video's name."""

    def __init__(self):
        self.asked: list[str] = []
        self.stop_at: int | None = None

    @property
    def contract(self):
        return dataclasses.replace(assets.load().contract, dim=3)

    def video_features(self, path, frozen=False):
        if self.stop_at is not None and len(self.asked) == self.stop_at:
            raise Stopped
        self.asked.append(f"{path.stem}{' frozen' if frozen else ''}")
        number = int(path.stem[-4:])
        return np.full((number + 1, 3), number + 0.5 * frozen, np.float16)


def name_files(plan, folder):
    return folder / f"{plan.name}.mp4", folder / f"{plan.name}.vtt"


@pytest.fixture
def extractor(monkeypatch):
    fake = FakeExtractor()
    monkeypatch.setattr(extraction, "extractor", lambda: fake)
    monkeypatch.setattr(assets, "SHARD_VIDEOS", SIZE)
    monkeypatch.setattr(rendering, "render_video", name_files)
    return fake


def test_a_stopped_run_goes_on_and_repeats_nothing(extractor, tmp_path):
    extractor.stop_at = 5  # in the third video, between its moving and its frozen clips
    with pytest.raises(Stopped):
        extraction.make_assets(COUNT, tmp_path / "work", tmp_path / "assets")
    assert assets.num_videos(tmp_path / "assets") == SIZE  # a whole shard is valid already
    extractor.stop_at = None
    extraction.make_assets(COUNT, tmp_path / "work", tmp_path / "assets")
    names = [plan.name for plan in corpus.plan_videos(COUNT)]
    assert sorted(extractor.asked) == sorted([*names, *(f"{name} frozen" for name in names)])
    videos = assets.load(tmp_path / "assets").videos
    assert [video.name for video in videos] == names
    for number, video in enumerate(videos):
        assert video.features.shape == (number + 1, 3)
        np.testing.assert_allclose(video.features, number, atol=0.02)
        np.testing.assert_allclose(video.frozen, number + 0.5, atol=0.02)


def test_whole_shards_are_kept_without_the_work_folder(extractor, tmp_path):
    extraction.make_assets(3, tmp_path / "work", tmp_path / "assets")  # the second shard is a half
    kept = (tmp_path / "assets" / "features-000.npz").read_bytes()
    extractor.asked.clear()
    extraction.make_assets(COUNT, tmp_path / "elsewhere", tmp_path / "assets")
    again = [name for name in extractor.asked if "frozen" not in name]
    assert again == [plan.name for plan in corpus.plan_videos(COUNT)[SIZE:]]
    assert (tmp_path / "assets" / "features-000.npz").read_bytes() == kept
    assert assets.num_videos(tmp_path / "assets") == COUNT
    extractor.asked.clear()
    extraction.make_assets(COUNT, tmp_path / "elsewhere", tmp_path / "assets")
    assert not extractor.asked
