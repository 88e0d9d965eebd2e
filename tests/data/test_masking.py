import itertools

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from videobert_jax.data import masking, order

LENGTHS = strategies.lists(strategies.integers(0, 20), min_size=1, max_size=30)
RATES = strategies.floats(0.01, 0.9)


def _ragged(lengths, seed: int = 0) -> masking.Ragged:
    lengths = np.asarray(lengths, np.int64)
    return masking.Ragged.of(lengths, order.bits(seed, order.EXAMPLE, np.arange(len(lengths)), 0))


def _groups(values: np.ndarray, ragged: masking.Ragged) -> list[np.ndarray]:
    """Values of each example."""
    return np.split(values, np.cumsum(ragged.lengths)[:-1])


@hypothesis.given(LENGTHS, RATES, strategies.integers(0, 2**31))
@hypothesis.settings(deadline=None)
def test_whole_words_are_hidden_and_one_stays_visible(lengths, rate, seed):
    pieces = _ragged(lengths, seed)
    starts = np.random.default_rng(seed).random(len(pieces.owners)) < 0.6
    word = masking.words(pieces, starts, whole_words=True)
    selected = masking.select_words(pieces, word, rate)
    for hidden, words in zip(_groups(selected, pieces), _groups(word, pieces), strict=True):
        by_word = {w: set(hidden[words == w].tolist()) for w in words.tolist()}
        assert all(len(states) == 1 for states in by_word.values())  # all of a word, or nothing
        if len(by_word) > 1:
            assert hidden.any() and not hidden.all()


@pytest.mark.parametrize("rate", [0.15, 0.3])
def test_the_expected_number_of_hidden_pieces_is_the_rate(rate):
    pieces = _ragged(np.full(4000, 30))
    starts = np.random.default_rng(0).random(len(pieces.owners)) < 0.6
    for whole_words in (True, False):
        word = masking.words(pieces, starts, whole_words=whole_words)
        assert abs(masking.select_words(pieces, word, rate).mean() - rate) < 0.004
    clips = masking.select_clips(pieces, rate, 2.0)
    assert abs(clips.mean() - rate) < 0.004


def test_a_single_unit_is_hidden_with_the_rate():
    pieces = _ragged(np.ones(5000))
    word = masking.words(pieces, np.ones(5000, np.bool_), whole_words=True)
    assert abs(masking.select_words(pieces, word, 0.2).mean() - 0.2) < 0.02
    assert abs(masking.select_clips(pieces, 0.2, 2.0).mean() - 0.2) < 0.02


@hypothesis.given(LENGTHS, RATES, strategies.integers(0, 2**31))
@hypothesis.settings(deadline=None)
def test_the_number_of_hidden_clips_is_the_rate_rounded(lengths, rate, seed):
    clips = _ragged(lengths, seed)
    for hidden in _groups(masking.select_clips(clips, rate, 2.0), clips):
        n, number = len(hidden), int(hidden.sum())
        if n > 1:
            low, high = int(np.floor(rate * n)), int(np.floor(rate * n)) + 1
            assert min(max(low, 1), n - 1) <= number <= min(max(high, 1), n - 1)


def _clips_in_spans(units: masking.Ragged, mean_span: float) -> np.ndarray:
    return masking.select_clips(units, 0.05, mean_span)


def _words_in_spans(units: masking.Ragged, mean_span: float) -> np.ndarray:
    """Words of two pieces, told by their first ones."""
    pieces = masking.Ragged.of(2 * units.lengths, units.seeds)
    word = masking.words(pieces, np.tile([True, False], len(units.owners)), whole_words=True)
    selected = masking.select_words(pieces, word, 0.05, None, mean_span).reshape(-1, 2)
    assert (selected[:, 0] == selected[:, 1]).all()
    return selected[:, 0]


@pytest.mark.parametrize("select", [_clips_in_spans, _words_in_spans])
def test_spans_are_as_long_as_asked(select):
    """Few units of long examples: spans hardly meet, so runs show the drawn lengths."""
    clips = _ragged(np.full(400, 400))

    def mean_run(mean_span: float) -> float:
        selected = select(clips, mean_span)
        assert abs(selected.mean() - 0.05) < 0.003
        runs = [
            sum(1 for _ in run)
            for hidden in _groups(selected, clips)
            for state, run in itertools.groupby(hidden.tolist())
            if state
        ]
        return float(np.mean(runs))

    assert mean_run(1.0) < 1.15
    assert 2.6 < mean_run(3.0) < 3.2


def test_draws_of_an_example_do_not_depend_on_its_neighbours():
    lengths = np.random.default_rng(0).integers(1, 15, 40)
    clips = _ragged(lengths)
    together = _groups(masking.select_clips(clips, 0.3, 2.0), clips)
    for i in range(40):
        alone = masking.Ragged.of(lengths[i : i + 1], clips.seeds[i : i + 1])
        assert masking.select_clips(alone, 0.3, 2.0).tolist() == together[i].tolist()


def test_one_side_is_always_shown():
    pieces, clips = _ragged([1, 1, 0, 1, 2]), _ragged([1, 0, 1, 2, 1])
    hidden_pieces = np.array([1, 1, 1, 1, 0], np.bool_)
    hidden_clips = np.array([1, 1, 1, 1, 1], np.bool_)
    shown = masking.show_one_side(pieces, hidden_pieces, clips, hidden_clips)
    # both hidden: the clip shows; text alone: its piece; video alone: its clip; both hidden: clips;
    # a piece is seen already: nothing changes
    assert shown[0].astype(int).tolist() == [1, 0, 1, 1, 0]
    assert shown[1].astype(int).tolist() == [0, 0, 0, 0, 1]


def test_what_finds_no_slot_stays_visible_as_a_whole():
    rows = np.array([0, 0, 0, 0, 1, 1, 1])
    words = np.array([0, 1, 1, 2, 3, 3, 4])
    selected = np.array([1, 1, 1, 1, 0, 0, 1], np.bool_)
    kept, rank = masking.fit_slots(selected, rows, words, 2)
    assert kept.astype(int).tolist() == [1, 0, 0, 0, 0, 0, 1]
    assert rank[kept].tolist() == [0, 0]
    kept, rank = masking.fit_slots(selected, rows, words, 4)
    assert (kept == selected).all() and rank[kept].tolist() == [0, 1, 2, 3, 0]


def test_eighty_ten_ten_and_never_a_special_piece():
    pieces = _ragged(np.full(1000, 30))
    ids = np.full(30_000, 400, np.int32)
    selected = np.arange(30_000) % 2 == 0
    always = np.arange(1000) >= 900
    selected |= always[pieces.owners]
    seen = masking.corrupt(
        ids, selected, pieces, always=always, mask_id=4, first_regular_id=261, size=500
    )
    assert (seen[always[pieces.owners]] == 4).all()
    seen, selected = seen[: 900 * 30], selected[: 900 * 30]
    assert (seen[~selected] == 400).all()
    changed = seen[selected]
    masked, kept = (changed == 4).mean(), (changed == 400).mean()
    assert abs(masked - 0.8) < 0.01 and abs(kept - 0.1) < 0.01
    other = changed[(changed != 4) & (changed != 400)]
    assert other.min() == 261 and other.max() == 499
    assert np.bincount(other, minlength=500)[261:].max() < 25  # 6 of each are expected


def test_heavier_words_are_hidden_in_proportion():
    pieces = _ragged(np.full(20_000, 3))
    word = masking.words(pieces, np.ones(60_000, np.bool_), whole_words=True)
    weights = np.tile([1.0, 2.0, 7.0], 20_000)
    selected = masking.select_words(pieces, word, 1 / 3, weights).reshape(-1, 3)
    assert (selected.sum(axis=1) == 1).all()
    np.testing.assert_allclose(selected.mean(axis=0), [0.1, 0.2, 0.7], atol=0.01)


def test_a_word_is_as_heavy_as_its_rarest_piece():
    pieces = _ragged(np.full(20_000, 3))
    word = masking.words(pieces, np.tile([True, False, True], 20_000), whole_words=True)
    selected = masking.select_words(pieces, word, 0.5, np.tile([1.0, 4.0, 1.0], 20_000))
    selected = selected.reshape(-1, 3)
    assert (selected[:, 0] == selected[:, 1]).all()
    # the word of two pieces comes first with 4/5 and is hidden then; the last always stays
    np.testing.assert_allclose(selected[:, 0].mean(), 0.8, atol=0.01)


def test_texts_are_hidden_as_a_whole_with_the_share():
    pieces = _ragged(np.tile([5, 0, 3, 8], 2000))
    some = np.zeros(len(pieces.owners), np.bool_)
    some[::7] = True
    hidden, whole = masking.of_whole_texts(pieces, some, 0.2)
    assert not whole[1::4].any()
    assert abs(whole[pieces.lengths > 0].mean() - 0.2) < 0.02
    assert (hidden == (some | whole[pieces.owners])).all()
    assert (pieces.wholly(hidden) == whole).all()
