"""Damaged features and lost shards: seen when a block is built, and never taken for data."""

import errno
import pathlib
import shutil
import types

import numpy as np
import pytest

from tests.data import blocks, drawn
from tests.drills import data_damage
from videobert_jax.data import block, index, shard_file, shards, writer
from videobert_jax.files import storage


def test_damaged_features_count_for_nothing(tmp_path, contract, tokenizer):
    out = writer.DatasetWriter(tmp_path / "damaged", "damaged", contract)
    for number, bad in enumerate([None, np.nan, -np.inf, np.inf, None, None]):
        features = np.full((20, drawn.DIM), number + 1.0, np.float16)
        if bad is not None:
            features[17, 3] = bad
        segment = writer.Segment(0, 40, "stir the crème of all", clips=(0, 20))
        out.add_video("train", str(number), features, [segment])
    split = out.finish().split("train")
    settings = blocks.settings(block_size=6, examples=2, text_length=96)
    built = block.BlockBuilder([(split, "text_video", 1.0)], tokenizer, settings).build(0)
    assert built.damaged == 3
    assert np.isfinite(built.batch.video_features).all()
    found = blocks.examples_of(built)
    assert {example for example, values in found.items() if values["pair"] == 0} == {1, 2, 3}
    for example, values in found.items():
        damaged = example in (1, 2, 3)
        assert len(values["features"]) == (0 if damaged else 20)
        assert (values["features"] == example + 1).all()
        assert values["masked"].any() != damaged
        assert (values["seen"] == values["ids"]) or not damaged
    row, place = np.argwhere(built.batch.example_ids == 1)[0]
    in_example = built.batch.text_segment_ids[row] == place + 1
    slots = built.batch.text_slots[row][built.batch.text_slot_weights[row] > 0]
    assert not in_example[slots].any()


def test_a_record_with_flipped_bits_weighs_nothing_and_is_named(copied_path, tokenizer, capfd):
    dataset = index.open_dataset(copied_path)
    whole = blocks.train_builder(dataset, tokenizer, block_size=18).build(0)
    shard = dataset.split("train").shard_paths[0]
    content = bytearray(shard.read_bytes())
    features = drawn.drawn_videos("train")["train1"].tobytes()  # 16 clips: one record
    content[content.index(features) + 100] ^= 4
    shard.write_bytes(content)
    built = blocks.train_builder(dataset, tokenizer, block_size=18).build(0)
    assert f"{shard}: record 1 is damaged (Corrupted" in capfd.readouterr().err
    _assert_lost(whole, built, videos={1})
    with pytest.raises(index.DatasetError, match=rf"{shard.name}: sha256 .* was written"):
        index.open_dataset(copied_path)  # and so it is not opened again


def test_a_record_in_place_of_another_weighs_nothing_and_is_named(copied_path, tokenizer, capfd):
    """Its checksum is right, for it is a record of the same dataset."""
    dataset = index.open_dataset(copied_path)
    whole = blocks.train_builder(dataset, tokenizer, block_size=18).build(0)
    shard = dataset.split("train").shard_paths[0]
    content, videos = shard.read_bytes(), drawn.drawn_videos("train")
    first, second = (content.index(videos[name].tobytes()) for name in ("train0", "train1"))
    form = dataset.split("train").record_format
    places = (first - form.features_offset, second - form.features_offset)
    shard.write_bytes(data_damage.with_chunk(content, *places, form.num_bytes))
    built = blocks.train_builder(dataset, tokenizer, block_size=18).build(0)
    assert "record 0 is damaged" in capfd.readouterr().err
    _assert_lost(whole, built, videos={0})


def _assert_lost(whole, built, videos: set[int]) -> None:
    """Examples of these videos weigh nothing; all others are those of the whole dataset."""
    expected, found = blocks.examples_of(whole), blocks.examples_of(built)
    lost = {
        example
        for example, values in expected.items()
        if values["video"] in videos and len(values["features"])
    }
    assert built.damaged == len(lost) > 0
    for example, values in found.items():
        if example in lost:
            assert values["pair"] == 0 and not len(values["features"])
        else:
            assert (values["features"] == expected[example]["features"]).all()


def test_a_storage_that_blips_is_asked_again_and_damage_is_not(copied_path, monkeypatch):
    monkeypatch.setattr(shards, "_WAITS", (0.0, 0.0))
    split = index.open_dataset(copied_path).split("train")
    opened, asked, says = shards.Shards(split), [], ["HTTP 503"]
    reader = opened._reader(0)

    class Blips:
        def read(self, numbers):
            asked.append(numbers)
            if len(asked) <= 3:
                raise RuntimeError(says[0])
            return reader.read(numbers)

    monkeypatch.setattr(shard_file, "open_shard", lambda path, count: Blips())
    opened._open.clear()
    place = np.array([0]), np.array([0])
    (record,) = opened.read(0, [0], *place)
    assert record == reader.read([0])[0] and len(asked) == 4  # at once, and three times more
    asked.clear()
    monkeypatch.setattr(shards, "_WAITS", (0.0,))
    with pytest.raises(
        index.DatasetError, match="asked 2 times .*503.*whether the storage answers"
    ):
        opened.read(0, [0], *place)
    asked.clear()
    says[0] = "Corrupted Riegeli/records file: chunk data hash mismatch"
    assert opened.read(0, [0], *place) == [None] and len(asked) == 2  # the whole call, and the one


class _Away:
    """A shard whose storage is away, in one of three ways, until it is waited for often enough."""

    def __init__(self, shard: pathlib.Path, how: str, monkeypatch: pytest.MonkeyPatch):
        self._shard, self._kept, self._how = shard, shard.with_name("kept"), how
        self._size, self.waits, self.comes_back_at = storage.size, [], 3
        monkeypatch.setattr(storage, "size", self._size_of)
        monkeypatch.setattr(shards, "time", types.SimpleNamespace(sleep=self._wait))
        if how != "stale":
            shard.rename(self._kept)
        if how == "unreadable":
            shard.mkdir()  # what array_record opens, and cannot read

    def _size_of(self, path):
        if self._how == "stale":
            raise OSError(errno.ESTALE, "Stale file handle")
        return self._size(path)

    def _wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        if len(self.waits) != self.comes_back_at:
            return
        if self._how == "unreadable":
            self._shard.rmdir()
        if self._how != "stale":
            self._kept.rename(self._shard)
        self._how = "back"


class _Gone:
    """The reader of a shard that was open when its storage went away."""

    def read(self, numbers):
        raise RuntimeError("pread() failed: Input/output error")


@pytest.mark.parametrize("was_open", [False, True])
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("missing", "the shard is missing.*see whether its storage is there"),
        ("unreadable", "cannot be opened .*Is a directory.*see whether the storage answers"),
        ("stale", "cannot be opened .*Stale file handle.*see whether the storage answers"),
    ],
)
def test_a_shard_that_does_not_open_is_asked_for_again(
    how, said, was_open, copied_path, monkeypatch
):
    split = index.open_dataset(copied_path).split("train")
    place = np.array([0]), np.array([0])
    expected = shards.Shards(split).read(0, [0], *place)
    away = _Away(split.shard_paths[0], how, monkeypatch)
    asked = shards.Shards(split)
    if was_open:
        asked._open[0] = _Gone()
    assert asked.read(0, [0], *place) == expected
    assert away.waits == [0.0, 0.1, 0.5]
    away = _Away(split.shard_paths[0], how, monkeypatch)
    away.comes_back_at = None
    with pytest.raises(index.DatasetError, match=rf"asked 4 times .*{split.name}.*{said}"):
        shards.Shards(split).read(0, [0], *place)
    assert sum(away.waits) == 2.6


def test_a_shard_that_is_damaged_as_a_whole_is_not_asked_for_again(copied_path, monkeypatch):
    shard = (split := index.open_dataset(copied_path).split("train")).shard_paths[0]
    monkeypatch.delattr(shards, "time")  # nothing waits
    for content in (shard.read_bytes()[:-10], shard.read_bytes()[: 1 << 12], b""):
        shard.write_bytes(content)
        with pytest.raises(index.DatasetError, match=r"0 readable records.*truncated or damaged"):
            shards.Shards(split).read(0, [0], np.array([0]), np.array([0]))


def test_a_shard_lost_while_training_is_named(copied_path, tokenizer):
    dataset = index.open_dataset(copied_path)
    builder = blocks.train_builder(dataset, tokenizer, block_size=18)
    shutil.rmtree(copied_path / "index" / "test")
    dataset.split("train").shard_paths[0].unlink()
    with pytest.raises(index.DatasetError, match="the shard is missing"):
        builder.build(0)
