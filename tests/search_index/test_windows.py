"""Windows cover every clip of a video, and their seconds are those of their clips."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import bundles, fakes
from videobert_jax.inference.model import PretrainedModel
from videobert_jax.search_index import windows
from videobert_jax.search_index.errors import SearchIndexError
from videobert_jax.search_index.windows import Windows

CONTRACT = dataclasses.replace(fakes.CONTRACT, stride_seconds=0.5)  # clips of 1 s, half a second on


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 60))
def test_windows_cover_every_clip_once_or_more_and_none_is_beyond(clips, hop, num_clips):
    cut = Windows(clips, min(hop, clips))
    seen = cut.cut(np.arange(num_clips, dtype=np.float32)[:, None])
    assert len(seen) == cut.count(num_clips)
    assert {int(clip) for window in seen for clip in window[:, 0]} == set(range(num_clips))
    assert {len(window) for window in seen} <= {min(clips, num_clips)}
    starts = [int(window[0, 0]) for window in seen]
    assert starts == sorted(set(starts))  # no window twice
    for number, window in enumerate(seen):
        start, end = cut.seconds(number, num_clips, CONTRACT)
        assert start == 0.5 * window[0, 0] and end == 0.5 * window[-1, 0] + 1.0


@pytest.fixture(scope="module")
def model(tiny_run):
    """Trained with four examples a row of 16 clips, the longest one of 12."""
    bundle = dataclasses.replace(bundles.tiny(tiny_run), contract=CONTRACT)
    data = dataclasses.replace(bundle.data, video_length=16, examples_per_row=4)
    video = dataclasses.replace(bundle.config.video, max_length=12)
    config = dataclasses.replace(bundle.config, video=video)
    return PretrainedModel(dataclasses.replace(bundle, data=data, config=config))


def test_defaults_are_the_room_of_a_training_example_and_half_of_it(model):
    assert windows.default(model) == Windows(4, 2)
    assert windows.chosen(model, None, None) == Windows(4, 2)


def test_seconds_become_whole_clips(model):
    assert windows.chosen(model, 4.0, None) == Windows(7, 3)  # 0 to 1 s, ..., 3 to 4 s
    assert windows.chosen(model, 4.0, 1.0) == Windows(7, 2)
    assert windows.chosen(model, 0.1, None) == Windows(1, 1)


@pytest.mark.parametrize(
    ("window", "hop", "message"),
    [
        (7.0, None, "7.0 s is 13 clips, but the model was trained with 12 at most; .* 6.5 s"),
        (2.0, 3.0, "windows of 3 clips every 6; expected"),
        (float("nan"), None, "a window of nan s"),
        (None, -1.0, "a hop of -1.0 s"),
    ],
)
def test_what_does_not_fit_is_refused(model, window, hop, message):
    with pytest.raises(SearchIndexError, match=message):
        windows.chosen(model, window, hop)
