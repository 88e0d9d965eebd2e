"""Questions have one answer each, and captions one form."""

import collections

from videobert_jax.kitchen import assets, ground_truth, palette

STEPS = (
    assets.StepRecord(1.0, 4.0, "slice", "carrot", "board", "knife", "now slice the carrots"),
    assets.StepRecord(5.0, 8.0, "add", "onion", "pan", "hand", "add our onion"),
    assets.StepRecord(9.0, 12.0, "stir", "onion", "pan", "spoon", "mix it"),
)


def test_captions_have_one_form():
    assert [ground_truth.caption(step) for step in STEPS] == [
        "slice the carrot on the board",
        "add the onion into the pan",
        "stir the onion in the pan",
    ]


def test_questions_of_a_recipe():
    asked = ground_truth.questions(STEPS, 13.0, ("carrot", "egg"))
    answers = {(question.kind, question.question): question for question in asked}
    assert answers["object", "what do we stir in the pan"].answer == "onion"
    assert answers["object", "what do we stir in the pan"].start == 9.0
    assert answers["container", "where do we slice the carrot"].answer == "board"
    assert answers["tool", "what do we use to add the onion"].answer == "hand"
    assert answers["next", "what comes after we slice the carrot"].answer == "add the onion"
    assert answers["before", "what comes before we stir the onion"].answer == "add the onion"
    assert answers["count", "how many steps are there"].answer == "3"
    assert answers["exists", "is there any egg"].answer == "no"
    assert answers["exists", "is there any carrot"].answer == "yes"
    assert len(asked) == 3 * 4 + 2 * 2 + 1 + 2


def test_no_question_of_the_corpus_has_two_answers():
    for video in assets.load().videos:
        asked = ground_truth.questions(video.steps, video.seconds, palette.OBJECTS)
        answers = collections.defaultdict(set)
        for question in asked:
            answers[question.start, question.end, question.question].add(question.answer)
        assert all(len(found) == 1 for found in answers.values()), video.name


def test_annotations_hold_steps_boundaries_and_questions():
    found = ground_truth.annotations("kitchen_0000", STEPS, 13.0, palette.OBJECTS)
    assert found["boundaries"] == [1.0, 4.0, 5.0, 8.0, 9.0, 12.0]
    assert [step["caption"] for step in found["steps"]][0] == "slice the carrot on the board"
    assert found["steps"][1]["container"] == "pan"
