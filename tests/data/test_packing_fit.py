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
    return packing_fit.Lengths(generator.integers(3, 9, size=(3, 48)), video, None)


@pytest.mark.parametrize(("examples", "most_cut"), [(1, 0.2), (4, 0.6), (4, 0.3), (12, 0.05)])
def test_what_is_cut_is_what_packing_cuts(lengths, examples, most_cut):
    found = packing_fit.fit(lengths, examples, multiple=4, most_cut=most_cut, embed_dim=64)
    assert (lengths.video.max() > found.video.capacity) or examples == 12
    kept = {"text": 0, "video": 0}
    for text, video in zip(lengths.text, lengths.video, strict=True):
        text = np.minimum(text, found.text.capacity)
        video = np.minimum(video, found.video.capacity)
        at = packing.assign([text, video], 48 // examples)
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


def test_work_is_that_of_a_layers_matrix_products(lengths):
    """Counted one product after another, by what it has for each slot of a row."""
    width = 48
    for examples in (1, 8):
        found = packing_fit.fit(lengths, examples, multiple=8, most_cut=0.3, embed_dim=width)
        flops = 0
        for side in (found.text, found.video):
            projections = 4 * 2 * width * width
            feed_forward = 2 * 2 * width * 4 * width
            attention = 2 * 2 * side.capacity * width
            flops += side.capacity * (projections + feed_forward + attention)
        a_slot = 4 * 2 * width * width + 2 * 2 * width * 4 * width
        assert found.work == pytest.approx(flops / a_slot / examples)


def test_longer_rows_are_chosen_until_attention_costs_more_than_they_save(lengths):
    def chosen(embed_dim: int) -> int:
        candidates = [
            packing_fit.fit(lengths, n, multiple=1, most_cut=0.02, embed_dim=embed_dim)
            for n in (1, 2, 4, 8, 16, 24, 48)
        ]
        assert candidates[0].filled < 0.5
        return packing_fit.choose(candidates).examples

    assert 1 < chosen(16) < chosen(100_000)
