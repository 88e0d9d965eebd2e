"""Damaged features and lost shards: seen when a block is built, and never taken for data."""

import shutil

import numpy as np
import pytest

from tests.data import blocks, drawn
from videobert_jax.data import block, index, writer


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


def test_flipped_bits_are_found(copied_path, tokenizer):
    dataset = index.open_dataset(copied_path)
    shard = dataset.split("train").shard_paths[0]
    content = bytearray(shard.read_bytes())
    features = drawn.drawn_videos("train")["train1"].tobytes()  # 16 clips: one record
    content[content.index(features) + 100] ^= 4
    shard.write_bytes(content)
    builder = blocks.train_builder(dataset, tokenizer, block_size=18)
    with pytest.raises(index.DatasetError, match=f"{shard.name}.*videobert verify"):
        builder.build(0)


def test_a_shard_lost_while_training_is_named(copied_path, tokenizer):
    dataset = index.open_dataset(copied_path)
    builder = blocks.train_builder(dataset, tokenizer, block_size=18)
    shutil.rmtree(copied_path / "index" / "test")
    dataset.split("train").shard_paths[0].unlink()
    with pytest.raises(index.DatasetError, match="the shard is missing"):
        builder.build(0)
