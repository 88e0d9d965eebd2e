import json

import numpy as np
import pytest

from tests.data import drawn
from videobert_jax.data import index, shard_file, verify, writer
from videobert_jax.files import digests

SHARD = "drawn-train.array_record-00000-of-00003"


def test_a_whole_dataset_is_counted_and_nothing_is_wrong(finished_path):
    progress = []
    report = verify.verify_dataset(finished_path, progress=lambda *row: progress.append(row))
    assert report.ok, str(report)
    train = report.splits[0]
    assert (train.name, train.videos, train.clips) == ("train", 6, sum(drawn.VIDEO_CLIPS["train"]))
    assert (train.examples, train.captions, train.damaged_clips) == (18, 12, 0)
    assert train.records == sum(-(-clips // 16) for clips in drawn.VIDEO_CLIPS["train"])
    done, total = progress[-1]
    assert (
        done
        == total
        == sum(
            file.stat().st_size
            for file in finished_path.rglob("*")
            if file.is_file() and file.name != index.DIGESTS_FILE
        )
    )


def test_any_flipped_bit_in_any_file_is_found(copied_path):
    draws = np.random.default_rng(0)
    files = [file for file in copied_path.rglob("*") if file.is_file()]
    names = {file.name for file in files}
    assert {"text.bin", SHARD, "mean.npy", "features.json", "label_verb.npy"} <= names
    for file in files:
        if file.name in (index.DIGESTS_FILE, index.DATASET_FILE):
            continue
        whole = file.read_bytes()
        content = bytearray(whole)
        content[draws.integers(len(content))] ^= 1 << int(draws.integers(8))
        file.write_bytes(content)
        report = verify.verify_dataset(copied_path)
        assert [problem.file for problem in report.problems] == [str(file)], str(report)
        assert "flipped bits" in str(report) and "prepare it anew" in str(report)
        file.write_bytes(whole)
    assert verify.verify_dataset(copied_path).ok


def test_reading_a_flipped_record_raises(copied_path):
    shard = copied_path / SHARD
    features = drawn.drawn_videos("train")["train1"]
    content = bytearray(shard.read_bytes())
    place = content.find(features[:16].tobytes())
    assert place > 0
    content[place + 5] ^= 16
    shard.write_bytes(content)
    split = index.open_dataset(copied_path, check_shards=False).splits["train"]
    reader = shard_file.open_shard(shard, split.shard_records[0])
    with pytest.raises(RuntimeError, match="hash mismatch"):
        reader.read([1])
    assert len(reader.read([0])) == 1


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda f: f.unlink(), "no such file"),
        (lambda f: f.write_bytes(f.read_bytes()[:2000]), "2,000 bytes"),
    ],
)
def test_a_missing_or_truncated_shard_is_named(copied_path, damage, found):
    damage(copied_path / SHARD)
    report = verify.verify_dataset(copied_path)
    assert not report.ok
    (problem,) = report.problems
    assert problem.file.endswith(SHARD) and problem.found == found
    assert "restore it from a copy" in problem.remedy


def accept_as_written(path, name):
    """Puts the digest of a changed file on record, as a fault in the writer would."""
    written = json.loads((path / index.DIGESTS_FILE).read_text())
    content = (path / name).read_bytes()
    written["files"][name] = {"sha256": digests.sha256_bytes(content), "bytes": len(content)}
    (path / index.DIGESTS_FILE).write_text(json.dumps(written))


@pytest.mark.parametrize(
    ("column", "change", "found"),
    [
        ("clip_count", lambda x: x + 40, "examples beyond their video's clips"),
        ("video", lambda x: x + 5, "videos out of range"),
        ("record_start", lambda x: x + 9, "videos beyond the last record"),
        ("label_verb", lambda x: x + 2, "labels out of range"),
        ("caption_hash", lambda x: x ^ 1, "that caption_hash.npy does not know"),
        ("end", lambda x: x - 9, "ends before their start"),
        ("num_clips", lambda x: x[::-1], "the index says"),
    ],
)
def test_an_index_that_contradicts_itself_is_found(copied_path, column, change, found):
    file = copied_path / "index" / "train" / f"{column}.npy"
    np.save(file, change(np.load(file)))
    accept_as_written(copied_path, f"index/train/{column}.npy")
    report = verify.verify_dataset(copied_path)
    assert not report.ok and found in str(report), str(report)


def test_damaged_clips_are_counted_and_allowed(contract, tmp_path):
    features = np.ones((20, drawn.DIM), np.float16)
    features[3, 5], features[3, 6], features[18, 0] = np.nan, np.inf, np.inf
    out = writer.DatasetWriter(tmp_path / "set", "drawn", contract)
    out.add_video("train", "v", features, [writer.Segment(0, 9, "stir")])
    out.finish()
    report = verify.verify_dataset(tmp_path / "set")
    assert report.ok and report.splits[0].damaged_clips == 2


def test_a_directory_that_is_no_dataset_says_so(tmp_path):
    with pytest.raises(index.DatasetError, match="no dataset.json is there"):
        verify.verify_dataset(tmp_path)
    with pytest.raises(index.DatasetError, match="there is no such directory"):
        verify.verify_dataset(tmp_path / "absent")
