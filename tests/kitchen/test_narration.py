"""What is said: labels can be read from words, the template is never said, times make sense."""

import re

import pytest

from videobert_jax.kitchen import corpus, vocabulary


@pytest.fixture(scope="module")
def narrated():
    plans = corpus.plan_videos(200)
    return [(plan, *corpus.narrate(plan)) for plan in plans]


def labels_in(text: str, forms: dict[str, tuple[str, ...]]) -> list[str]:
    said = set(text.split())
    return [label for label, words in forms.items() if said & set(words)]


def test_a_sentence_names_its_verb_and_object_and_no_other(narrated):
    for plan, sentences, _ in narrated:
        for timed, text in zip(plan.steps, sentences, strict=True):
            assert labels_in(text, vocabulary.VERB_FORMS) == [timed.step.verb]
            assert labels_in(text, vocabulary.OBJECT_FORMS) == [timed.step.object]
            assert labels_in(text, vocabulary.CONTAINER_FORMS) in ([], [timed.step.container])


def test_chat_names_no_label():
    for text in (*vocabulary.CHAT, *vocabulary.GREETINGS):
        assert labels_in(text, vocabulary.VERB_FORMS) == []
        assert labels_in(text, vocabulary.OBJECT_FORMS) == []
        assert labels_in(text, vocabulary.CONTAINER_FORMS) == []


def test_the_template_is_never_said_but_its_words_are(narrated):
    said = [cue.text for _, _, cues in narrated for cue in cues]
    frame = re.compile(vocabulary.TEMPLATE.replace("[MASK]", r"\w+"))
    assert not any(frame.search(text) for text in said)
    words = set(" ".join(said).split())
    assert set(vocabulary.TEMPLATE.replace("[MASK]", "").split()) <= words
    container = vocabulary.CONTAINER_TEMPLATE.replace("[MASK]", "").format(container="")
    assert set(container.split()) <= words


def test_transcripts_have_the_faults_of_speech(narrated):
    cues = [cue for _, _, of_video in narrated for cue in of_video]
    steps = sum(len(plan.steps) for plan, _, _ in narrated)
    told = [cue for cue in cues if cue.step >= 0]
    assert 0.85 < len(told) / steps < 0.95  # some steps go unsaid
    assert 0.1 < (len(cues) - len(told)) / steps < 0.4  # and there is chat
    assert all(re.fullmatch(r"[a-z ]+", cue.text) for cue in cues)
    lags = [
        abs(cue.start - plan.steps[cue.step].start)
        for plan, _, of_video in narrated
        for cue in of_video
        if cue.step >= 0
    ]
    assert 0.3 < sum(lags) / len(lags) < 1.0


def test_cues_follow_one_another(narrated):
    for _, _, cues in narrated:
        for before, after in zip(cues, cues[1:], strict=False):
            assert before.start <= after.start
        assert all(cue.start < cue.end for cue in cues)
