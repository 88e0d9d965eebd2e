"""Fitted rows against packing itself, where examples are longer than whole rows."""

import numpy as np
import pytest

from videobert_jax.data import packing, packing_fit


@pytest.fixture(scope="module")
def lengths() -> packing_fit.Lengths:
    """One run of clips in twelve is longer than all others of a row together."""
    generator = np.random.default_rng(0)
    video = generator.integers(1, 6, size=(3, 48))
    video[:, ::12] = 40 * generator.integers(1, 4, size=(3, 4))
    return packing_fit.Lengths(generator.integers(3, 9, size=(3, 48)), video)


@pytest.mark.parametrize(("examples", "most_cut"), [(1, 0.2), (4, 0.6), (4, 0.3), (12, 0.05)])
def test_what_is_cut_is_what_packing_cuts(lengths, examples, most_cut):
    found = packing_fit.fit(lengths, examples, multiple=4, most_cut=most_cut)
    assert (lengths.video.max() > found.video.capacity) or examples == 12
    kept = {"text": 0, "video": 0}
    for text, video in zip(lengths.text, lengths.video, strict=True):
        text = np.minimum(text, found.text.capacity)
        video = np.minimum(video, found.video.capacity)
        at = packing.assign(text, video, 48 // examples)
        for side, of_side in (("text", text), ("video", video)):
            rows = of_side[at].reshape(-1, examples)
            kept[side] += packing.fit(rows, getattr(found, side).capacity).sum()
    slots = 3 * 48 // examples
    pieces = (lengths.text - 2).sum()
    assert found.text.filled == kept["text"] / (slots * found.text.capacity)
    assert found.video.filled == kept["video"] / (slots * found.video.capacity)
    assert found.text.cut == pytest.approx((lengths.text.sum() - kept["text"]) / pieces)
    assert found.video.cut == pytest.approx(1 - kept["video"] / lengths.video.sum())
    assert max(found.text.cut, found.video.cut) <= most_cut


def test_shorter_rows_are_chosen_where_longer_ones_bring_little():
    def candidate(examples: int, filled: float) -> packing_fit.Candidate:
        side = packing_fit.Side(8 * examples, filled, 0.0)
        return packing_fit.Candidate(examples, side, side)

    candidates = [candidate(4, 0.80), candidate(8, 0.93), candidate(16, 0.945), candidate(32, 0.9)]
    assert packing_fit.choose(candidates).examples == 8
    assert packing_fit.choose([*candidates, candidate(64, 0.99)]).examples == 64
