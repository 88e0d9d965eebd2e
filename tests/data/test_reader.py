"""Reads of one block that are under way at a time."""

import threading

import numpy as np
import pytest

from tests.data import drawn
from videobert_jax.data import index, reader, shard_file, shards

FIRST, COUNTS = np.array([0, 3, 14, 30, 0, 8]), np.array([1, 13, 3, 10, 5, 20])  # of each video


def read(split: index.Split, parallel_reads: int) -> tuple[np.ndarray, np.ndarray]:
    """(features of a run of each video, whether it is damaged)."""
    out = np.full((COUNTS.sum(), drawn.DIM), 7, np.float16)
    clips = reader.ClipReader(split, parallel_reads)
    damaged = clips.read_into(out, np.cumsum(COUNTS) - COUNTS, np.arange(6), FIRST, COUNTS)
    return out, damaged


@pytest.mark.parametrize("parallel_reads", [1, 2, 3, 100])
def test_a_block_has_its_clips_however_many_calls_read_it(dataset, parallel_reads):
    videos = drawn.drawn_videos("train").values()
    expected = [v[first:][:count] for v, first, count in zip(videos, FIRST, COUNTS, strict=True)]
    out, damaged = read(dataset.split("train"), parallel_reads)
    np.testing.assert_array_equal(out, np.concatenate(expected))
    assert not damaged.any()


def test_calls_for_records_wait_together(dataset, monkeypatch):
    """Each call waits for as many others: one after another they would wait for ever."""
    split, calls = dataset.split("train"), []
    assert len(split.shard_paths) == 3
    meeting = threading.Barrier(9)

    class Meeting:
        def __init__(self, path, count):
            self._shard = opened(path, count)

        def read(self, numbers):
            calls.append(len(numbers))
            meeting.wait(timeout=20)
            return self._shard.read(numbers)

    opened = shard_file.open_shard
    monkeypatch.setattr(shard_file, "open_shard", Meeting)
    out, _ = read(split, 9)
    assert calls == [1] * 9  # the runs lie in nine records, and each is read once
    assert np.isfinite(out).all()


def test_a_shard_that_is_not_given_is_named_whichever_call_meets_it(dataset, monkeypatch):
    split = dataset.split("train")
    monkeypatch.setattr(shards, "_WAITS", (0.0,))

    class Silent:
        def __init__(self, path, count):
            pass

        def read(self, numbers):
            raise RuntimeError("HTTP 503")

    monkeypatch.setattr(shard_file, "open_shard", Silent)
    with pytest.raises(index.DatasetError, match=r"array_record.* cannot be read.*\(HTTP 503\)"):
        read(split, 4)
