import json
import pathlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videobert_jax.data import index, shard_file, verify
from videobert_jax.data.datasets import youcook2_keyframes

SOURCE = pathlib.Path(__file__).parents[4] / "shared" / "data" / "youcook2"
real = pytest.mark.skipif(not SOURCE.is_dir(), reason="no YouCook II files at ../shared/data")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> index.Dataset:
    return youcook2_keyframes.prepare(SOURCE, tmp_path_factory.mktemp("youcook2") / "set")


@pytest.mark.long
@real
def test_counts_are_those_of_the_source(dataset):
    assert len(dataset.splits["train"]) == 1350 and len(dataset.splits["train"].videos) == 450
    assert len(dataset.splits["validation"]) == 450
    assert len(dataset.splits["transcripts"].videos) == 1736
    report = verify.verify_dataset(dataset.path)
    assert report.ok and all(split.damaged_clips == 0 for split in report.splits)


@pytest.mark.long
@real
def test_every_sentence_stands_beside_the_feature_of_its_still(dataset):
    with np.load(SOURCE / "keyframe_i3d_kinetics400.npz") as archive:
        features = dict(zip(archive["keys"].tolist(), archive["features"], strict=True))
    pairs = json.loads((SOURCE / "keyframe_pairs.json").read_text())
    expected = {
        (p["video"], p["start"], p["sentence"], features[p["key"]].tobytes()) for p in pairs
    }
    found = set()
    for split in (dataset.splits["train"], dataset.splits["validation"]):
        (shard,) = split.shard_paths
        records = shard_file.open_shard(shard, split.shard_records[0]).read_all()
        clips = split.record_format.features(records)
        for row, text in enumerate(split.texts(range(len(split)))):
            video = int(split.video[row])
            assert split.clip_count[row] == 1
            clip = clips[int(split.record_start[video]), int(split.first_clip[row])]
            found.add((split.videos[video], float(split.start[row]), text, clip.tobytes()))
    assert found == expected


@pytest.mark.long
@real
def test_no_transcript_for_training_is_of_a_validation_video(dataset):
    annotations = json.loads((SOURCE / "youcookii_annotations_trainval.json").read_text())
    official = {v for v, row in annotations["database"].items() if row["subset"] == "validation"}
    training = set(dataset.splits["transcripts_train"].videos)
    assert training < set(dataset.splits["transcripts"].videos)
    assert not training & (official | set(dataset.splits["validation"].videos))
    assert set(dataset.splits["transcripts"].videos) - training <= official | set(
        dataset.splits["validation"].videos
    )


@given(st.lists(st.integers(0, 70), max_size=30))
def test_windows_keep_every_word_in_order_and_none_is_too_long(lengths):
    words = iter(range(10_000))
    sentences = [" ".join(f"w{next(words)}" for _ in range(length)) for length in lengths]
    found = list(youcook2_keyframes.windows(sentences, most_words=20))
    assert " ".join(found).split() == " ".join(sentences).split()
    assert all(0 < len(window.split()) <= 20 for window in found)


@given(st.lists(st.integers(1, 20), max_size=30))
def test_a_window_takes_the_next_sentence_while_it_fits(lengths):
    sentences = [" ".join([f"s{number}"] * length) for number, length in enumerate(lengths)]
    left, expected = list(lengths), []
    while left:
        fitting = max(n for n in range(1, len(left) + 1) if sum(left[:n]) <= 20)
        expected.append(sum(left[:fitting]))
        left = left[fitting:]
    found = youcook2_keyframes.windows(sentences, most_words=20)
    assert [len(window.split()) for window in found] == expected


def write_small_source(folder: pathlib.Path) -> None:
    import gzip

    row = {"recipe": "1", "segment_id": 0, "n_segments": 1, "duration": 60.0}
    pairs = [
        {**row, "key": "b", "video": "A", "split": "training", "start": 9, "end": 12,
         "sentence": "stir"},
        {**row, "key": "a", "video": "A", "split": "training", "start": 3, "end": 5,
         "sentence": "cut"},
        {**row, "key": "c", "video": "B", "split": "validation", "start": 3, "end": 5,
         "sentence": "fry"},
    ]  # fmt: skip
    (folder / "keyframe_pairs.json").write_text(json.dumps(pairs))
    features = np.arange(3 * 1024).reshape(3, 1024).astype(np.float16) / 64
    np.savez(folder / "keyframe_i3d_kinetics400.npz", keys=["a", "b", "c"], features=features)
    with gzip.open(folder / "transcripts.jsonl.gz", "wt") as file:
        for video in "ABC":
            file.write(json.dumps({"video_id": video, "sentences": ["hello .", "bye ."]}) + "\n")
    videos = {"A": {"subset": "training"}, "C": {"subset": "validation"}}
    (folder / "youcookii_annotations_trainval.json").write_text(json.dumps({"database": videos}))


def test_stills_are_clips_of_their_video_in_the_order_of_time(tmp_path):
    write_small_source(tmp_path)
    dataset = youcook2_keyframes.prepare(tmp_path, tmp_path / "set")
    split = dataset.splits["train"]
    assert split.texts([0, 1]) == ["cut", "stir"]
    assert split.first_clip.tolist() == [0, 1] and split.num_clips.tolist() == [2]
    assert dataset.splits["transcripts"].texts([0]) == ["hello . bye ."]
    assert dataset.splits["transcripts_train"].videos == ["A"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("keyframe_pairs.json", b"", "the file is empty"),
        ("keyframe_pairs.json", b"[]", "an empty list, expected"),
        ("keyframe_pairs.json", b"{}", "an empty list|an empty dict|expected a JSON list"),
        ("keyframe_pairs.json", b'[{"key": ', "that are no JSON"),
        ("transcripts.jsonl.gz", b"", "the file is empty, expected one transcript a line"),
        ("transcripts.jsonl.gz", b"\x1f\x8b", "damaged behind line 0"),
        # A header, and then a block of a kind that deflate does not have (RFC 1951, 3.2.3).
        ("transcripts.jsonl.gz", b"\x1f\x8b\x08" + b"\0" * 7 + b"\x07", "invalid block type"),
        ("keyframe_i3d_kinetics400.npz", b"PK", "not a whole .npz archive"),
        ("transcripts.jsonl.gz", None, "missing there: transcripts.jsonl.gz; expected a folder"),
    ],
)
def test_bad_source_files_are_named_before_anything_is_written(tmp_path, name, content, message):
    write_small_source(tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        youcook2_keyframes.prepare(tmp_path, tmp_path / "set")
    assert name in str(error.value)
    assert not (tmp_path / "set").exists()


def test_a_source_that_is_no_folder_says_what_is_needed(tmp_path):
    with pytest.raises(index.DatasetError, match=r"no such folder; missing: keyframe_pairs\.json"):
        youcook2_keyframes.prepare(tmp_path / "absent", tmp_path / "set")
    with pytest.raises(index.DatasetError, match="expected --source DIR"):
        youcook2_keyframes.prepare(None, tmp_path / "set")
