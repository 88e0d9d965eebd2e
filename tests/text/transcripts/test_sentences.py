import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videobert_jax.text.transcripts import Cue, sentences


def said(found):
    return [cue.text for cue in found]


def test_punctuation_parts_sentences_wherever_cues_break():
    cues = [
        Cue(0, 2, "First we cut the big"),
        Cue(2, 4, "onion. Then you stir it"),
        Cue(4, 6, "for a long while! Is it done?"),
    ]
    found = sentences.of_cues(cues, sentences.Settings(min_words=3))
    assert said(found) == [
        "First we cut the big onion.",
        "Then you stir it for a long while!",
        "Is it done?",
    ]
    assert found[0].start == 0 and found[-1].end == 6
    assert 2 < found[0].end == found[1].start < 4


def test_pauses_part_speech_without_punctuation():
    words = [(0.0, "so"), (0.3, "we"), (0.5, "cut"), (0.8, "it"), (3.0, "and"), (3.2, "stir")]
    cues = [
        Cue(0, 1.0, "so we cut it", tuple(words[:4])),
        Cue(3.0, 4.0, "and stir", tuple(words[4:])),
    ]
    assert said(sentences.of_cues(cues)) == ["so we cut it", "and stir"]
    near = [cues[0], Cue(1.7, 2.0, "and stir")]
    assert said(sentences.of_cues(near)) == ["so we cut it and stir"]  # too short to stand alone


def test_a_long_run_is_cut_at_its_longest_pause():
    words = [(0.2 * n + (0.4 if n >= 22 else 0), f"w{n}") for n in range(40)]
    cue = Cue(0, 9, " ".join(w for _, w in words), tuple(words))
    cues = [Cue(start, start + 0.2, word, ((start, word),)) for start, word in words]
    assert [len(c.text.split()) for c in sentences.of_cues(cues)] == [22, 18]
    assert all(len(c.text.split()) <= 30 for c in sentences.of_cues([cue]))


cue_lists = st.lists(
    st.tuples(
        st.floats(0, 3),
        st.floats(0.1, 5),
        st.lists(
            st.sampled_from(["cut", "the", "onion.", "now", "stir!", "well"]),
            min_size=1,
            max_size=40,
        ),
    ),
    min_size=1,
    max_size=12,
)


@given(cue_lists)
@settings(max_examples=60, deadline=None)
def test_every_word_is_in_one_sentence_in_its_order(rows):
    cues, time = [], 0.0
    for gap, length, words in rows:
        cues.append(Cue(time + gap, time + gap + length, " ".join(words)))
        time += gap + length
    found = sentences.of_cues(cues)
    assert " ".join(said(found)) == " ".join(cue.text for cue in cues)
    times = np.array([(cue.start, cue.end) for cue in found])
    assert (np.diff(times.reshape(-1)) >= -1e-9).all()
    assert times[0, 0] == pytest.approx(cues[0].start) and times[-1, 1] == pytest.approx(
        cues[-1].end
    )
    assert all(len(cue.text.split()) <= 30 for cue in found)


def test_nothing_said_is_no_sentence():
    assert sentences.of_cues([]) == []


def test_cues_that_overlap_are_told_one_behind_the_other():
    cues = [Cue(0, 5, "cut all of the onions now."), Cue(2, 6, "stir all of the soup then.")]
    found = sentences.of_cues(cues)
    assert [(cue.start, cue.end) for cue in found] == [(0, 2), (2, 6)]
