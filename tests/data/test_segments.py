import dataclasses

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from videobert_jax.data import segments


def with_stride(contract, stride, window):
    return dataclasses.replace(contract, stride_seconds=stride, fps=10.0, frames_per_clip=window)


@given(
    start=st.integers(0, 400),
    length=st.integers(1, 200),
    stride=st.sampled_from([8, 16, 30]),
    num_clips=st.integers(1, 20),
)
@example(start=32, length=9, stride=8, num_clips=5)  # 3.2 - 0.8 is a little over 3 x 0.8
def test_a_segment_covers_the_clips_whose_centres_it_holds(
    contract, start, length, stride, num_clips
):
    # Counted in tenths of a second with integers, one clip after another.
    centres = [clip * stride + 8 for clip in range(num_clips)]
    inside = [clip for clip, centre in enumerate(centres) if start <= centre < start + length]
    segment = segments.Segment(start / 10, (start + length) / 10, "x")
    first, count = segments.clips_of_segment(
        segment, num_clips, with_stride(contract, stride / 10, 16)
    )
    if start >= centres[-1] + 8:
        assert (first, count) == (0, 0)
    elif inside:
        assert (first, count) == (inside[0], len(inside))
    else:
        middle = start + length / 2
        nearest = min(abs(centre - middle) for centre in centres)
        assert count == 1
        assert abs(centres[first] - middle) == pytest.approx(nearest)


def test_given_clips_are_taken_and_checked(contract):
    stills = dataclasses.replace(contract, stride_seconds=0.0)
    given_clips = segments.Segment(5.0, 9.0, "x", clips=(2, 1))
    assert segments.clips_of_segment(given_clips, 3, stills) == (2, 1)
    with pytest.raises(ValueError, match="the video has 2"):
        segments.clips_of_segment(given_clips, 2, stills)
    with pytest.raises(ValueError, match="stride_seconds=0.0"):
        segments.clips_of_segment(segments.Segment(0.0, 1.0, "x"), 3, stills)
    assert segments.clips_of_segment(segments.Segment(0.0, 1.0, "x"), 0, stills) == (0, 0)


@pytest.mark.parametrize("times", [(2.0, 1.0), (-1.0, 1.0), (0.0, float("nan"))])
def test_times_out_of_order_are_refused(times):
    with pytest.raises(ValueError, match="segment 0 .'fry'"):
        segments.check_segments([segments.Segment(*times, "fry")])
