"""Cutting frames into clips, against the definition by slices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videobert_jax.video import clips


def slices(frames: np.ndarray, length: int, stride: int) -> list[np.ndarray]:
    """Whole clips, then a tail of at least half a clip that holds frames no whole clip has."""
    starts = [s for s in range(0, len(frames), stride) if s + length <= len(frames)]
    found = [frames[s : s + length] for s in starts]
    start = stride * len(starts)
    tail = frames[start:]
    covered = starts[-1] + length if starts else 0
    if len(frames) > max(covered, start) and (2 * len(tail) >= length or not starts):
        found.append(np.concatenate([tail, np.repeat(tail[-1:], length - len(tail), 0)]))
    return found


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 60), st.integers(1, 12), st.integers(1, 15))
def test_clips_are_slices_of_the_frames(count, length, stride):
    frames = np.arange(count)[:, None]
    cutting = clips.ClipSettings(fps=10.0, frames_per_clip=length, stride_frames=stride)
    found = list(clips.cut(iter(frames), cutting))
    expected = slices(frames, length, stride)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("count", "clips_expected"), [(16, 1), (23, 1), (24, 2), (3, 1), (0, 0)])
def test_a_rest_shorter_than_half_a_clip_is_left_out(count, clips_expected):
    cutting = clips.ClipSettings(fps=10.0, frames_per_clip=16, stride_frames=16)
    assert len(list(clips.cut(iter(np.zeros((count, 1))), cutting))) == clips_expected


def test_stride_in_seconds():
    assert clips.ClipSettings(32 / 3, 16, 16).stride_seconds == 1.5


def test_the_middle_frame_of_each_chosen_clip_is_found():
    settings = clips.ClipSettings(fps=4, frames_per_clip=4, stride_frames=3)
    frames = [np.full((2, 2, 3), number, np.uint8) for number in range(9)]
    found = clips.middle_frames(iter(frames), settings, [0, 2, 7])
    assert {number: int(frame[0, 0, 0]) for number, frame in found.items()} == {0: 1, 2: 7, 7: 8}
    assert clips.middle_frames([], settings, [0]) == {}


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 30), st.integers(1, 8), st.lists(st.integers(0, 40), max_size=8))
def test_clips_at_chosen_frames_are_slices_too(count, length, starts):
    """Behind the end, the last frame."""
    frames = np.arange(count)[:, None]
    found = dict(clips.cut_at(iter(frames), starts, length))
    assert sorted(found) == list(range(len(starts)))
    for number, start in enumerate(starts):
        expected = frames[np.minimum(np.arange(start, start + length), count - 1)]
        np.testing.assert_array_equal(found[number], expected)


def test_no_more_frames_are_read_than_the_chosen_clips_need():
    frames = iter(np.arange(100)[:, None])
    assert [number for number, _ in clips.cut_at(frames, [7, 3], 4)] == [1, 0]
    assert next(frames)[0] == 11
    assert list(clips.cut_at(iter(()), [0], 4)) == []
