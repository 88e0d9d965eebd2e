"""The layouts that the benchmark of packing compares hold the same examples."""

import json

import numpy as np
import pytest

from benchmarks import alternate, lxmert, rows
from benchmarks.rows import Rows

pytest.importorskip("torch", reason='needs torch: pip install "videobert-jax[parity]"')
pytest.importorskip("transformers", reason='needs transformers: "videobert-jax[parity]"')

BLOCK = 16


@pytest.fixture(scope="module")
def annotations(tmp_path_factory):
    """Two videos with 32 steps of 1 to 12 words and 2 to 60 seconds."""
    generator = np.random.default_rng(0)
    words = "cut stir pour onion carrot egg pan".split()
    database = {}
    for video in ("one", "other"):
        begin, steps = 0.0, []
        for _ in range(BLOCK):
            end = begin + float(generator.integers(2, 60))
            sentence = " ".join(generator.choice(words, size=generator.integers(1, 13)))
            steps.append({"segment": [begin, end], "sentence": sentence})
            begin = end
        database[video] = {"duration": begin, "annotations": steps}
    path = tmp_path_factory.mktemp("annotations") / "youcookii_annotations_trainval.json"
    path.write_text(json.dumps({"database": database}))
    return path


@pytest.fixture(scope="module")
def steps(annotations, tmp_path_factory):
    return rows.Steps(annotations, tmp_path_factory.mktemp("steps"), BLOCK)


def lengths_of(blocks) -> list[tuple[int, int]]:
    """(pieces, clips) of every example, in order of size."""
    found = []
    for block in blocks:
        for number in range(1, block.example_ids.shape[1] + 1):
            text = (block.text_segment_ids == number).sum(1)
            video = (block.video_segment_ids == number).sum(1)
            found += zip(text.tolist(), video.tolist(), strict=True)
    return sorted(found)


def test_layouts_differ_in_slots_alone(steps):
    padded, slots = steps.blocks(Rows(1, 80, 64), 2)
    packed, packed_slots = steps.blocks(Rows(4, 320, 256), 2)
    eighths, grouped_slots = rows.grouped(padded, 4, 8)
    assert lengths_of(packed) == lengths_of(padded) == lengths_of(eighths)
    assert slots.text_cut == packed_slots.video_cut == 0
    assert slots.an_example == 80 + 64 and packed_slots.an_example == (320 + 256) / 4
    total = sum(text + video for text, video in lengths_of(padded))
    for found in (packed, padded, eighths):
        filled = [
            (block.text_segment_ids > 0).sum() + (block.video_segment_ids > 0).sum()
            for block in found
        ]
        assert sum(filled) == total
    assert grouped_slots.an_example < slots.an_example
    assert grouped_slots.text_filled > slots.text_filled
    for batch in eighths:  # as long as its longest example, in eights
        longest = (batch.text_segment_ids > 0).sum(1).max()
        assert batch.text_ids.shape == (4, -(-longest // 8) * 8)
    sizes = [b.text_ids.shape[1] + b.video_positions.shape[1] for b in rows.middle(eighths, 8)]
    assert len(eighths) == 8 and sizes == sorted(sizes)


def test_the_peer_gets_the_same_pieces_and_clips(steps):
    (padded,), slots = steps.blocks(Rows(1, 12, 16), 1)
    assert 0 < slots.text_cut < 1 and 0 < slots.video_cut < 1
    rows_of_one = rows.with_features(padded, 32)
    sizes = lxmert.Sizes(
        embed_dim=64,
        num_heads=4,
        feed_forward_dim=128,
        text_layers=1,
        video_layers=1,
        cross_layers=1,
        vocabulary=512,
        feature_dim=32,
        rows=1,
        text_length=12,
        video_length=16,
    )
    peer = lxmert.Peer(sizes, threads=1)
    batch = peer.batch_of(rows_of_one)
    np.testing.assert_array_equal(batch["attention_mask"], padded.text_segment_ids)
    np.testing.assert_array_equal(batch["visual_feats"], rows_of_one.video_features)
    assert (np.abs(rows_of_one.video_features).sum(-1) > 0).sum() == padded.video_segment_ids.sum()
    for _ in range(60):  # the gradients of two halves are one step
        peer.step([batch, batch])
    assert peer.losses[-1] < 0.9 * peer.losses[0]


def test_other_files_are_refused(tmp_path):
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(alternate.BenchmarkError, match="expected youcookii_annotations"):
        rows.Steps(tmp_path / "other.json", tmp_path, BLOCK)
