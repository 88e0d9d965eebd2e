"""Alignments: files, the scene of a line, and blocks of the kept examples with their clips."""

import dataclasses
import pickle

import numpy as np
import pytest

from tests.data import blocks, drawn
from videobert_jax.data import alignment, block, data_state, draw, order
from videobert_jax.data.config import AS_WRITTEN

KEPT = np.array([1, 2, 5, 6, 8, 11, 17])


@pytest.fixture
def written(dataset, tmp_path):
    """Path of an alignment of the training split: some examples, with one clip less in front."""
    path, split = tmp_path / "align.safetensors", dataset.split("train")
    alignment.write(path, split, KEPT, *_cut(split), {"dataset": dataset.name})
    return path


def _cut(split) -> tuple[np.ndarray, np.ndarray]:
    less = split.clip_count > 1
    return split.first_clip + less, split.clip_count - less


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0.0, 3.0, (0, 3)),  # clips' centres at 0.8, 2.4, ..., scenes of 0-4.8, 4.8-6.4, 6.4-16 s
        (4.9, 5.0, (3, 1)),
        (3.0, 6.0, (0, 3)),
        (4.0, 6.2, (3, 1)),
        (5.0, 12.0, (4, 6)),
        (15.0, 40.0, (4, 6)),
        (16.1, 40.0, None),
        (5.0, 5.0, None),
    ],
)
def test_a_line_takes_the_scene_that_it_is_said_over_for_the_longest(
    contract, start, end, expected
):
    scenes = np.array([0, 3, 4])
    assert alignment.of_scenes(start, end, scenes, 10, contract) == expected


def test_scenes_lie_about_the_centres_of_clips(contract):
    longer = dataclasses.replace(contract, frames_per_clip=32)  # 3.2 s, 1.6 s apart
    assert alignment.of_scenes(0.0, 0.7, np.array([0]), 4, longer) is None
    assert alignment.of_scenes(0.0, 0.9, np.array([0]), 4, longer) == (0, 4)


def test_files_give_the_alignment_back_mapped(dataset, written):
    found, split = alignment.load(written), dataset.split("train")
    assert found.examples.tolist() == KEPT.tolist() and isinstance(found.clip_count, np.memmap)
    np.testing.assert_array_equal(found.first_clip, _cut(split)[0])
    np.testing.assert_array_equal(found.clip_count, _cut(split)[1])
    assert found.about["num_kept"] == 7 and found.about["num_examples"] == 18
    assert found.keeps(np.array([-1, 0, 1, 11, 17, 18])).tolist() == [0, 0, 1, 1, 1, 0]
    assert pickle.loads(pickle.dumps(found)).digest == found.digest
    named = alignment.write(written, split, KEPT[:3], *_cut(split), {"dataset": "drawn"})
    assert alignment.load(named).examples.tolist() == KEPT[:3].tolist()
    with pytest.raises(alignment.AlignmentError, match="expected .*: another file than"):
        alignment.load(f"{written}@{found.digest[:12]}")


def test_what_is_none_is_refused(dataset, written, tmp_path):
    split = dataset.split("train")
    (tmp_path / "cut").write_bytes(written.read_bytes()[:-8])
    for path, message in (
        (tmp_path / "cut", "not an alignment of narration .*videobert align"),
        (tmp_path / "nowhere", "not an alignment of narration .*videobert align"),
    ):
        with pytest.raises(alignment.AlignmentError, match=message):
            alignment.load(path)
    one = {"examples": np.zeros(1, np.int64)}
    alignment.Alignment.write(tmp_path / "one", split, one, {})
    with pytest.raises(alignment.AlignmentError, match=r"columns \['examples'\], expected"):
        alignment.load(tmp_path / "one")
    with pytest.raises(alignment.AlignmentError, match="0 examples kept"):
        alignment.write(tmp_path / "x", split, KEPT[:0], *_cut(split), {})
    first_clip, clip_count = _cut(split)
    with pytest.raises(alignment.AlignmentError, match="clips of 17 of 18"):
        alignment.write(tmp_path / "x", split, KEPT, first_clip[1:], clip_count[1:], {})


def _source(dataset, path, split="train") -> block.Source:
    table = None if path is None else alignment.load(path)
    return block.Source(dataset.split(split), "text_video", 1.0, alignment=table)


def _builder(dataset, tokenizer, path, **changes) -> block.BlockBuilder:
    settings = blocks.settings(block_size=7, masking=blocks.NO_MASKING, **changes)
    return block.BlockBuilder([_source(dataset, path)], tokenizer, settings)


def test_blocks_hold_the_kept_examples_once_an_epoch_with_the_clips_of_the_file(
    dataset, tokenizer, written
):
    builder, split = _builder(dataset, tokenizer, written), dataset.split("train")
    firsts, counts = _cut(split)
    for k in range(3):
        built = builder.build(k)
        blocks.assert_same(built, pickle.loads(pickle.dumps(builder)).build(k))
        found = blocks.examples_of(built)
        assert sorted(found) == KEPT.tolist()
        for example, told in found.items():
            whole = drawn.drawn_videos("train")[split.videos[split.video[example]]]
            run = whole[firsts[example] : firsts[example] + counts[example]]
            np.testing.assert_array_equal(told["features"], run)
            assert told["clip"] == firsts[example]
            text = split.texts([example])[0]
            assert tokenizer.encode([text])[0] == told["ids"][1:-1]


def test_joined_examples_are_kept_ones_and_hold_the_clips_of_the_file(dataset, written):
    split, table = dataset.split("train"), alignment.load(written)
    of = dict(zip(["first_clip", "clip_count"], _cut(split), strict=True))
    captions = np.arange(1, len(split) + 1, dtype=np.uint32)  # all have one
    split = dataclasses.replace(split, caption_hash=captions)
    config = dataclasses.replace(AS_WRITTEN, joined_examples=1.0)
    ids = KEPT
    seeds = order.bits(0, order.EXAMPLE, ids, 0)
    runs = draw.runs(split, ids, seeds, "text_video", config, table)
    assert runs.joined.tolist() == [2, -1, -1, -1, -1, -1, -1]  # 6 is of another video than 5
    end = max(of["first_clip"][i] + of["clip_count"][i] for i in (1, 2))
    assert runs.firsts[0] == min(of["first_clip"][1:3])
    assert runs.firsts[0] + runs.counts[0] == end
    np.testing.assert_array_equal(runs.firsts[1:], of["first_clip"][ids[1:]])


def test_a_run_goes_on_with_the_same_alignment_alone(dataset, tokenizer, written, tmp_path):
    saved = data_state.data_state(_builder(dataset, tokenizer, written), 1, 3)
    again = data_state.data_state(_builder(dataset, tokenizer, written), 1, 3)
    assert data_state.check_data_state(saved, again) == []
    other = tmp_path / "other.safetensors"
    split = dataset.split("train")
    alignment.write(other, split, KEPT[1:], *_cut(split), {"dataset": "drawn"})
    for path in (other, None):
        current = data_state.data_state(_builder(dataset, tokenizer, path), 1, 3)
        with pytest.raises(data_state.DataStateError, match="sources.0.alignment.*: the"):
            data_state.check_data_state(saved, current)
        with pytest.raises(data_state.DataStateError, match="sources.0.alignment.*: the"):
            data_state.check_data_state(current, saved)


def test_an_alignment_of_another_split_is_refused(dataset, tokenizer, written):
    with pytest.raises(alignment.AlignmentError, match="split 'train' of drawn .*split 'test'"):
        block.BlockBuilder(
            [_source(dataset, written, "test")], tokenizer, blocks.settings(block_size=2)
        )
