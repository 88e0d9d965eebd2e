import dataclasses

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from videobert_jax.data import draw, index, order, writer
from videobert_jax.data.config import AS_WRITTEN


@hypothesis.given(strategies.lists(strategies.floats(0.01, 100), min_size=1, max_size=5))
@hypothesis.settings(deadline=None)
def test_each_source_counts_its_own_blocks_in_its_proportion(weights):
    schedule = draw.schedule(weights)
    seen = [schedule.locate(k) for k in range(400)]
    for source, weight in enumerate(weights):
        numbers = [number for s, number in seen if s == source]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) == schedule.counts(400)[source]
        expected = np.arange(401) * weight / sum(weights)
        given = np.concatenate([[0], np.cumsum([s == source for s, _ in seen])])
        assert np.abs(given - expected).max() <= len(weights)


def test_block_numbers_stay_exact_far_out():
    schedule = draw.schedule([0.7, 0.2, 0.1])
    far = 10**15
    assert sum(schedule.counts(far)) == far
    counts = schedule.counts(far)
    for k in range(far, far + 50):
        source, number = schedule.locate(k)
        assert number == counts[source]
        counts[source] += 1


@pytest.mark.parametrize("weights", [[2.0, 0.0], [0.0, 1.0], [0.0, 2.0, 0.0, 1.0, 0.0]])
def test_a_source_without_weight_gives_no_block(weights):
    schedule = draw.schedule(weights)
    others = [source for source, weight in enumerate(weights) if weight]
    alone = draw.schedule([weights[source] for source in others])
    for k in range(50):
        source, number = alone.locate(k)
        assert schedule.locate(k) == (others[source], number)
    assert [schedule.counts(50)[source] for source in others] == alone.counts(50)
    assert sum(schedule.counts(50)) == 50


@pytest.mark.parametrize("weights", [[1.0, -0.5], [0.0, 0.0], []])
def test_one_weight_must_be_positive(weights):
    with pytest.raises(ValueError, match="one or more above 0"):
        draw.schedule(weights)


def test_random_windows_take_every_start_and_stay_inside():
    counts, kept = np.full(3000, 9), np.full(3000, 4)
    seeds = order.bits(0, order.EXAMPLE, np.arange(3000), 0)
    starts = draw.random_window(counts, kept, seeds)
    assert np.bincount(starts).shape == (6,) and np.bincount(starts).min() > 400
    whole = draw.random_window(np.array([5, 0, 1]), np.array([5, 0, 1]), seeds[:3])
    assert whole.tolist() == [0, 0, 0]


def test_centred_windows():
    assert draw.centred_window(np.array([9, 8, 3]), np.array([4, 4, 3])).tolist() == [2, 2, 0]


@pytest.fixture(scope="module")
def split(tmp_path_factory, contract) -> index.Split:
    """Up to five segments a video, some without clips or caption."""
    generator = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("draw") / "dataset"
    out = writer.DatasetWriter(path, "draw", contract)
    for video in range(40):
        clips = int(generator.integers(1, 60))
        segments = []
        for first in np.sort(generator.integers(0, clips, generator.integers(1, 6))).tolist():
            count = int(generator.integers(1, clips - first + 1) * (generator.random() < 0.9))
            text = ("", "stir", "cut", "pour")[generator.integers(0, 4)]
            segments.append(writer.Segment(0, 1, text, clips=(first * (count > 0), count)))
        features = np.zeros((clips, contract.dim), np.float16)
        out.add_video("train", f"video{video}", features, segments)
    out.finish()
    return index.open_dataset(path).split("train")


def _drawn(split, regime="text_video", repeats=200, **changes) -> tuple[np.ndarray, draw.Runs]:
    ids = np.tile(np.arange(len(split)), repeats)
    seeds = order.bits(3, order.EXAMPLE, np.arange(len(ids)), 0)
    return ids, draw.runs(split, ids, seeds, regime, dataclasses.replace(AS_WRITTEN, **changes))


def test_as_written_nothing_is_drawn(split):
    ids, runs = _drawn(split, repeats=2)
    np.testing.assert_array_equal(runs.firsts, split.first_clip[ids])
    np.testing.assert_array_equal(runs.counts, split.clip_count[ids])
    assert (runs.steps == 1).all() and (runs.joined == -1).all()


def test_joined_examples_are_neighbours_of_one_video_and_hold_the_clips_of_both(split):
    ids, runs = _drawn(split, joined_examples=0.3)
    may = [
        n + 1 < len(split)
        and split.video[n] == split.video[n + 1]
        and bool(split.caption_hash[n] and split.caption_hash[n + 1])
        for n in range(len(split))
    ]
    joined = runs.joined >= 0
    assert not joined[~np.array(may)[ids]].any()
    assert abs(joined[np.array(may)[ids]].mean() - 0.3) < 0.02
    for n, first, count, other in zip(ids, runs.firsts, runs.counts, runs.joined, strict=True):
        clips = set(range(split.first_clip[n], split.first_clip[n] + split.clip_count[n]))
        if other >= 0:
            assert other == n + 1
            end = split.first_clip[other] + split.clip_count[other]
            clips |= set(range(split.first_clip[other], end))
        if not clips:
            assert count == 0
        else:
            assert (first, first + count) == (min(clips), max(clips) + 1)


def test_overlapped_clips_lie_around_a_clip_of_the_segment(split):
    ids, runs = _drawn(
        split, overlapped_examples=1.0, overlapped_min_clips=4, overlapped_max_clips=9
    )
    begin, count = split.first_clip[ids], split.clip_count[ids]
    whole = split.num_clips[split.video[ids]]
    some = count > 0
    assert (runs.counts[~some] == 0).all()
    assert (runs.firsts >= 0).all() and (runs.firsts + runs.counts <= whole)[some].all()
    overlap = np.minimum(runs.firsts + runs.counts, begin + count) - np.maximum(runs.firsts, begin)
    assert (overlap[some] >= 1).all()
    inside = some & (runs.firsts > 0) & (runs.firsts + runs.counts < whole)
    lengths = runs.counts[inside]
    assert (lengths.min(), lengths.max()) == (4, 9)
    centres = runs.firsts[inside] + lengths // 2 - begin[inside]
    assert (centres >= 0).all() and (centres < count[inside]).all()
    # the draw covers whole segments, evenly where neither end of the video is near
    long = count[inside] >= 5
    places = (centres[long] + 0.5) / count[inside][long]
    assert abs(places.mean() - 0.5) < 0.1 and places.std() > 0.2
    shares = _drawn(
        split, overlapped_examples=0.25, overlapped_min_clips=70, overlapped_max_clips=70
    )
    assert abs((shares[1].counts != split.clip_count[shares[0]])[some].mean() - 0.25) < 0.05


def test_what_is_shown_without_a_text_takes_clips_beside_its_segment_too(split):
    both = [
        _drawn(split, regime, repeats=2, overlapped_examples=1.0)
        for regime in ("video_only", "text_video", "text_only")
    ]
    (ids, runs), (_, with_text), (_, text) = both
    np.testing.assert_array_equal(runs.firsts, with_text.firsts)
    np.testing.assert_array_equal(runs.counts, with_text.counts)
    assert (runs.counts != split.clip_count[ids]).any()
    np.testing.assert_array_equal(text.counts, split.clip_count[ids])


def test_rates_thin_out_and_runs_without_text_are_cut(split):
    ids, runs = _drawn(split, highest_rate=5)
    np.testing.assert_array_equal(runs.counts, -(-split.clip_count[ids] // runs.steps))
    np.testing.assert_allclose(np.bincount(runs.steps, minlength=6)[1:] / len(ids), 0.2, atol=0.01)
    ids, runs = _drawn(split, "video_only", highest_rate=2, run_clips=3, joined_examples=1.0)
    assert runs.counts.max() == 3 and (runs.joined == -1).all()
    last = runs.firsts + (runs.counts - 1) * runs.steps
    inside = (runs.firsts >= split.first_clip[ids]) & (
        last < split.first_clip[ids] + split.clip_count[ids]
    )
    assert inside[split.clip_count[ids] > 0].all()
    ends = (split.first_clip + split.clip_count)[ids]
    assert ((last >= ends - 2) & (split.clip_count[ids] > 12) & (runs.steps == 2)).any()
    assert _drawn(split, run_clips=3)[1].counts.max() > 3  # of examples with text nothing is cut
