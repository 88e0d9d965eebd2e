"""A folder of videos, good and bad, through the stand-in network of test_extract."""

import json
import os

import jax
import numpy as np
import pytest

from tests.video.test_extract import BACKBONE, SETTINGS
from videobert_jax.schema import ContractMismatch
from videobert_jax.video import clips, corpus, decode, extract

av = pytest.importorskip("av", reason="PyAV is not installed")


def movie(path, levels, size=(16, 16)):
    frames = [np.full((*size, 3), level, np.uint8) for level in levels]
    decode.write_frames(path, frames, 10)
    return path


def extractor(batch: int = 4) -> extract.ClipExtractor:
    return extract.ClipExtractor(BACKBONE, SETTINGS, batch)


def run(videos, output, batch: int = 4, stills: bool = False):
    return corpus.extract_corpus(extractor(batch), videos, output, stills)


def test_clips_of_several_videos_share_batches_and_come_back_to_their_own(tmp_path):
    generator = np.random.default_rng(0)
    videos = [
        movie(tmp_path / f"v{n}.mp4", generator.integers(0, 250, size=4 * n + 3)) for n in range(6)
    ]
    assert run(videos, tmp_path / "out", batch=8) == []
    for video in videos:
        found = np.load(tmp_path / "out" / f"{video.stem}.npy")
        expected = extractor(1).video_features(video)
        assert found.dtype == np.float16 and found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=2e-3)
    assert extractor(8)._placed is not None and jax.local_device_count() == 8


def test_it_goes_on_where_it_stopped_and_keeps_one_contract(tmp_path, capsys):
    videos = [movie(tmp_path / f"v{n}.mp4", range(20 * n, 20 * n + 9)) for n in range(3)]
    output = tmp_path / "out"
    assert run(videos[:2], output) == []
    before = {path.name: path.stat().st_mtime_ns for path in output.glob("*.npy")}
    (output / "v1.npy").unlink()
    assert run(videos, output) == []
    printed = capsys.readouterr().err
    assert "1 of 3 videos are there already" in printed and "2 videos of 0.00 hours" in printed
    assert (output / "v0.npy").stat().st_mtime_ns == before["v0.npy"]
    other = clips.ClipSettings(fps=10.0, frames_per_clip=4, stride_frames=2)
    with pytest.raises(ContractMismatch, match="stride_seconds"):
        corpus.extract_corpus(extract.ClipExtractor(BACKBONE, other), videos, output, False)


def audio_only(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_bad_videos_are_told_with_their_reasons_and_the_others_are_built(tmp_path):
    good = movie(tmp_path / "good – äö 1 -.mp4", range(0, 200, 10))
    one = movie(tmp_path / "-one.mp4", [120])
    content = good.read_bytes()
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "list.txt").write_text("gone.mp4\n" + good.name)
    audio_only(tmp_path / "audio.mp4")
    videos = corpus.find(tmp_path)
    assert len(videos) == 6  # a folder is no video
    failures = run(videos, tmp_path / "out")
    lines = (tmp_path / "out" / "failures.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == failures
    reasons = {os.path.basename(f["video"]): f["reason"] for f in failures}
    assert set(reasons) == {"empty.mp4", "text.mp4", "cut.mp4", "audio.mp4"}
    assert "no video stream" in reasons["audio.mp4"] and "cannot be" in reasons["text.mp4"]
    assert np.load(tmp_path / "out" / f"{good.stem}.npy").shape == (5, 2)
    single = np.load(tmp_path / "out" / f"{one.stem}.npy")
    assert single.shape == (1, 2) and abs(float(single[0, 0]) - 120) < 4
    listed = corpus.find(tmp_path / "list.txt")
    assert [path.name for path in listed] == ["gone.mp4", good.name]
    (gone,) = run(listed, tmp_path / "out")
    assert "is not there" in gone["reason"]
    (tmp_path / "gone.mp4").write_bytes(content)
    assert run(listed, tmp_path / "out") == []
    assert not (tmp_path / "out" / "failures.jsonl").exists()


def test_a_damaged_packet_costs_its_frames_alone(tmp_path):
    path = movie(tmp_path / "a.mp4", np.random.default_rng(0).integers(0, 250, size=80), (64, 64))
    whole = extractor().video_features(path)
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    end = start + (content.index(b"moov") - start if b"moov" in content[start:] else 2000)
    middle = (start + end) // 2
    content[middle : middle + 60] = bytes(60)
    path.write_bytes(content)
    damaged = extractor().video_features(path)
    assert len(damaged) == len(whole)
    assert not np.array_equal(damaged, whole)  # the damage is there


def test_three_hundred_damaged_videos_do_no_harm(tmp_path):
    """Bytes changed and files cut off: features or a reason, and the whole one beside them."""
    generator = np.random.default_rng(5)
    whole = movie(
        tmp_path / "whole.mp4", generator.integers(0, 250, size=12), (32, 32)
    ).read_bytes()
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(300):
        content = bytearray(whole)
        for _ in range(int(generator.integers(1, 20))):
            content[int(generator.integers(len(content)))] = int(generator.integers(256))
        if number % 4 == 0:
            content = content[: int(generator.integers(len(content)))]
        (folder / f"{number:03d}.mp4").write_bytes(content)
    (folder / "good.mp4").write_bytes(whole)
    failures = run(corpus.find(folder), tmp_path / "out", batch=16)
    written = list((tmp_path / "out").glob("*.npy"))
    assert len(written) + len(failures) == 301 and len(failures) > 60
    good = np.load(tmp_path / "out" / "good.npy")
    expected = extractor().video_features(tmp_path / "whole.mp4")
    np.testing.assert_allclose(good, expected, rtol=2e-3)
    assert all(failure["reason"] for failure in failures)


def test_shares_are_disjoint_complete_and_stable(tmp_path):
    videos = [tmp_path / f"video_{n}.mp4" for n in range(100)]
    shares = [corpus.shard_of(videos, number, 7) for number in range(7)]
    assert sorted(sum(shares, [])) == sorted(videos) and all(len(share) > 4 for share in shares)
    assert corpus.shard_of(videos[:50], 3, 7) == [v for v in shares[3] if v in videos[:50]]


def test_stills_have_no_motion(tmp_path):
    path = movie(tmp_path / "a.mp4", [10, 60, 110, 160] * 3)
    run([path], tmp_path / "moving")
    run([path], tmp_path / "still", stills=True)
    moving, still = (np.load(tmp_path / name / "a.npy") for name in ("moving", "still"))
    assert moving[:, 1].min() > 30 and still[:, 1].max() < 5  # the spread of brightness


def test_what_is_no_corpus_is_named(tmp_path):
    with pytest.raises(corpus.CorpusError, match="is not there"):
        corpus.find(tmp_path / "none")
    with pytest.raises(corpus.CorpusError, match="no videos; expected files such as .mp4"):
        corpus.find(tmp_path)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.mp4").touch()
    with pytest.raises(corpus.CorpusError, match="have one name"):
        corpus.find(tmp_path)


def test_a_long_video_takes_no_more_memory_than_a_short_one(tmp_path, monkeypatch):
    """Frames of two hours, made one by one where the decoder's would come from."""
    most, alive = [0], [0]

    class Frame(np.ndarray):
        def __del__(self):
            alive[0] -= 1

    def frames(*_):
        for _ in range(2 * 3600 * 10):
            alive[0] += 1
            most[0] = max(most[0], alive[0])
            yield np.zeros((2, 2, 3), np.uint8).view(Frame)

    def brightness(variables, given):
        values = given.astype(np.float32).mean((1, 2, 3, 4))
        return (np.stack([values, values], 1),) * 2

    monkeypatch.setattr(decode, "read_frames", frames)
    monkeypatch.setattr(decode, "duration", lambda path: 7200.0)
    made = extractor(16)
    monkeypatch.setattr(made, "_apply", brightness)
    assert corpus.extract_corpus(made, [tmp_path / "film.mp4"], tmp_path / "out", False) == []
    assert len(np.load(tmp_path / "out" / "film.npy")) == 18_000
    assert most[0] < 16 * 4 * 4  # a few batches' frames, not 72,000
