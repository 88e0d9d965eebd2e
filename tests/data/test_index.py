import pickle
import shutil

import numpy as np
import pytest

from tests.data import drawn
from videobert_jax.data import index
from videobert_jax.files import digests


def test_columns_say_what_was_given(dataset):
    split = dataset.splits["train"]
    expected = []
    for name, features in drawn.drawn_videos("train").items():
        expected += [(name, *row) for row in map(vars, drawn.drawn_segments(name, len(features)))]
    rows = [
        (name, segment)
        for name, features in drawn.drawn_videos("train").items()
        for segment in drawn.drawn_segments(name, len(features))
    ]
    assert len(split) == len(rows) == len(split.video)
    assert split.texts(range(len(rows))) == [segment.text.strip() for _, segment in rows]
    assert split.texts([4, 0]) == [rows[4][1].text, rows[0][1].text]
    assert [split.videos[v] for v in split.video] == [name for name, _ in rows]
    np.testing.assert_allclose(split.end, [segment.end for _, segment in rows], rtol=1e-6)
    for kind in ("verb", "object"):
        labels = split.labels[kind]
        found = [labels.names[i] if i >= 0 else None for i in labels.ids]
        assert found == [segment.labels.get(kind) for _, segment in rows]
    whole = [row for row, (_, segment) in enumerate(rows) if segment.text.startswith("  all")]
    assert split.clip_count[whole].tolist() == list(drawn.VIDEO_CLIPS["train"])
    assert (np.asarray(split.caption_hash) == 0).tolist() == [not s.text for _, s in rows]


def test_text_alone_has_no_clips_and_no_shards(dataset):
    split = dataset.splits["spoken"]
    assert split.texts([0, 1]) == ["hello", "é"]
    assert split.shard_paths == [] and split.clip_count.tolist() == [0, 0]
    assert split.num_clips.tolist() == [0]


def test_caption_hash_is_frozen_and_ignores_spacing_and_case():
    # sha256("cut the onion") begins with these four bytes, read from the lowest up.
    assert index.caption_hash("cut the onion") == int.from_bytes(
        bytes.fromhex("dc978346"), "little"
    )
    assert index.caption_hash(" Cut  the\nONION ") == index.caption_hash("cut the onion")
    assert index.caption_hash("cut the onions") != index.caption_hash("cut the onion")
    assert index.caption_hash(" \n") == 0


def test_a_split_pickles_as_its_path(dataset):
    split = dataset.splits["train"]
    pickled = pickle.dumps(split)
    assert len(pickled) < 1000
    copy = pickle.loads(pickled)
    assert copy.digest == split.digest and copy.texts([0]) == split.texts([0])
    np.testing.assert_array_equal(copy.video, split.video)


def test_a_pickled_split_notices_that_its_dataset_was_replaced(copied_path):
    pickled = pickle.dumps(index.open_dataset(copied_path).splits["train"])
    old, new = index.open_dataset(copied_path).splits["train"].digest, "0" * 64
    dataset_file, digests_file = copied_path / "dataset.json", copied_path / "digests.json"
    before = digests.sha256_file(dataset_file)
    dataset_file.write_text(dataset_file.read_text().replace(old, new))
    after = digests.sha256_file(dataset_file)
    digests_file.write_text(digests_file.read_text().replace(before, after))
    with pytest.raises(index.DatasetError, match="replaced while it was in use"):
        pickle.loads(pickled)


def test_columns_are_mapped_and_cannot_be_written(dataset):
    assert isinstance(dataset.splits["train"].caption_hash, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        dataset.splits["train"].video[0] = 1


SHARD = "drawn-train.array_record-00001-of-00003"


def cut(file):
    file.write_bytes(file.read_bytes()[:-100])


def swap_for_other_shard(file):
    shutil.copy(file.parent / "drawn-test.array_record-00000-of-00001", file)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        (SHARD, lambda f: f.unlink(), "the shard is missing, expected 5 records"),
        (SHARD, cut, "with 0 readable records, expected 5: truncated"),
        (SHARD, lambda f: f.write_bytes(b""), "0 bytes with 0 readable records, expected 5"),
        (SHARD, swap_for_other_shard, "with 3 readable records, expected 5"),
        ("index/train/text.bin", lambda f: f.write_bytes(b""), "the caption file is empty"),
        ("index/train/text.bin", lambda f: f.unlink(), "the caption file is missing"),
        ("index/train/text.bin", cut, "the caption file is [0-9]+ bytes, expected"),
        ("index/train/start.npy", lambda f: f.unlink(), "missing, expected 18 values of float32"),
        ("index/train/start.npy", lambda f: f.write_bytes(f.read_bytes()[:-4]), "68 bytes of data"),
        ("index/train/video.npy", lambda f: np.save(f, np.zeros(18)), "float64 .18., expected int"),
        ("index/train/videos.json", lambda f: f.write_text("[]"), "0 video names, expected 6"),
        ("statistics/mean.npy", lambda f: f.unlink(), "missing, expected 24 values"),
        ("dataset.json", lambda f: f.write_text("{"), "damaged .JSONDecodeError"),
        ("dataset.json", lambda f: f.write_text('{"format": 1, "version": 1}'), "format .1, 1."),
        ("dataset.json", lambda f: f.unlink(), "not a prepared dataset"),
        (
            "dataset.json",
            lambda f: f.write_text(f.read_text().replace("num_videos", "num_fideos")),
            "changed since it was written",
        ),
        ("digests.json", lambda f: f.unlink(), "not readable"),
        ("digests.json", lambda f: f.write_text('{"files": {}}'), "no digest of dataset.json"),
    ],
)
def test_damage_is_named_at_opening(copied_path, name, damage, message):
    damage(copied_path / name)
    with pytest.raises(index.DatasetError, match=message) as error:
        index.open_dataset(copied_path)
    assert name.removesuffix("dataset.json") in str(error.value)
    assert "anew" in str(error.value) or "prepare" in str(error.value)


def test_any_flipped_bit_of_the_json_files_is_an_error_or_harmless(copied_path, dataset):
    draws = np.random.default_rng(0)
    refused = 0
    for name in ("dataset.json", "digests.json"):
        file = copied_path / name
        whole = file.read_bytes()
        for place in draws.integers(len(whole), size=60).tolist():
            content = bytearray(whole)
            content[place] ^= 1 << int(draws.integers(8))
            file.write_bytes(content)
            try:
                found = index.open_dataset(copied_path, check_shards=False)
                assert found.digest == dataset.digest
            except index.DatasetError:
                refused += 1
        file.write_bytes(whole)
    assert refused >= 60


def test_an_unknown_split_names_those_that_exist(dataset):
    with pytest.raises(index.DatasetError, match="has train, test, spoken"):
        dataset.split("validation")
