"""Blocks made of lengths alone hold what those of the pipeline do."""

import json

import numpy as np
import pytest

from benchmarks import alternate, layouts, real_lengths
from benchmarks.rows import Rows

BLOCK, VOCABULARY, FEATURES = 16, 400, 4


@pytest.fixture(scope="module")
def annotations(tmp_path_factory):
    """A video of 40 steps: two of every number of clips from 1 to 20, 1.5 s each, in turn."""
    begin, steps = 0.0, []
    for number in range(40):
        end = begin + 1.5 * (1 + number % 20)
        sentence = " ".join("cut stir pour onion".split()[: 1 + number % 4])
        steps.append({"segment": [begin, end], "sentence": sentence})
        begin = end
    path = tmp_path_factory.mktemp("annotations") / "youcookii_annotations_trainval.json"
    path.write_text(json.dumps({"database": {"one": {"duration": begin, "annotations": steps}}}))
    return path


@pytest.fixture(scope="module")
def lengths(annotations):
    return real_lengths.of_annotations(annotations, VOCABULARY, BLOCK)


def lengths_of(block) -> list[tuple[int, int]]:
    found = []
    for number in range(1, block.example_ids.shape[1] + 1):
        text = (block.text_segment_ids == number).sum(1)
        video = (block.video_segment_ids == number).sum(1)
        found += zip(text.tolist(), video.tolist(), strict=True)
    return sorted(found)


def test_lengths_are_those_of_the_annotations(lengths):
    assert lengths.text.shape == lengths.video.shape == (2, BLOCK)  # whole blocks
    of_video = np.bincount(lengths.video.reshape(-1), minlength=21)
    assert of_video[0] == 0 and of_video.max() <= 2 and of_video.sum() == 32
    assert lengths.text.min() >= 3  # a piece between [CLS] and [SEP]


@pytest.mark.parametrize("rows", [Rows(1, 32, 24), Rows(4, 128, 80)])
def test_a_block_holds_examples_of_these_lengths(lengths, rows):
    text, video = lengths.text[0], lengths.video[0]
    block = real_lengths.block_of(text, video, rows, VOCABULARY, FEATURES)
    assert lengths_of(block) == sorted(zip(text.tolist(), video.tolist(), strict=True))
    assert ((block.video_features != 0).any(-1) == (block.video_segment_ids > 0)).all()
    told = block.video_slot_weights > 0
    assert told.sum() == np.minimum(3, video // 2).sum() == block.video_masked.sum()
    assert np.take_along_axis(block.video_masked, block.video_slots, axis=1)[told].all()
    told = block.text_slot_weights > 0
    at_slots = np.take_along_axis(block.text_segment_ids, block.text_slots, axis=1)
    owners = np.repeat(np.arange(1, rows.examples + 1), 3)
    assert (at_slots == owners)[told].all() and told.sum() == np.minimum(3, text // 2).sum()


def test_equal_lengths_leave_no_place_empty():
    rows = Rows(4, 24, 32)
    lengths = real_lengths.equal(rows, BLOCK, 1)
    block = real_lengths.block_of(lengths.text[0], lengths.video[0], rows, VOCABULARY, FEATURES)
    assert (block.text_segment_ids > 0).all() and (block.video_segment_ids > 0).all()


def test_rows_are_fitted_to_the_lengths(lengths):
    packed, padded = layouts.fitted(lengths, embed_dim=64)
    assert padded.examples == 1 and padded.video_length in (16, 24)
    assert packed.examples > 1
    each = (packed.text_length + packed.video_length) / packed.examples
    assert each < padded.text_length + padded.video_length


def test_other_files_are_refused(tmp_path):
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(alternate.BenchmarkError, match="expected youcookii_annotations"):
        real_lengths.of_annotations(tmp_path / "other.json", VOCABULARY, BLOCK)
