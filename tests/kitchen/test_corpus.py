"""The plan of the corpus: balance, natural pairs, splits, and beginnings that stay the same."""

import collections

import pytest

from videobert_jax.kitchen import corpus, palette


@pytest.fixture(scope="module")
def plans():
    return corpus.plan_videos(120)


def steps_of(plans, split):
    return [timed.step for plan in plans if plan.split == split for timed in plan.steps]


def test_a_longer_corpus_begins_with_the_shorter_one(plans):
    assert corpus.plan_videos(30) == plans[:30]


@pytest.mark.parametrize("split", ["train", "test"])
def test_labels_are_balanced(plans, split):
    steps = steps_of(plans, split)
    verbs = collections.Counter(step.verb for step in steps)
    objects = collections.Counter(step.object for step in steps)
    assert set(verbs) == set(palette.VERBS) and set(objects) == set(palette.OBJECTS)
    assert max(verbs.values()) <= 1.3 * min(verbs.values())
    assert max(objects.values()) <= 2 * min(objects.values())


def test_steps_are_natural(plans):
    for plan in plans:
        for before, after in zip(plan.steps, plan.steps[1:], strict=False):
            assert before.end < after.start
            assert before.step.verb != after.step.verb
        for timed in plan.steps:
            step = timed.step
            assert step.object in palette.VERB_OBJECTS[step.verb]
            assert step.container in palette.VERB_CONTAINERS[step.verb]
            assert 3 <= step.seconds <= 5
        assert 4 <= len(plan.steps) <= 8
        assert plan.steps[-1].end <= plan.seconds


def test_tools_do_not_give_verbs_away():
    verbs = collections.Counter(tool for tools in palette.VERB_TOOLS.values() for tool in tools)
    assert verbs["spoon"] == 2 and verbs["knife"] == 2 and verbs["hand"] == 3


def test_the_test_split_has_eighty_steps(plans):
    assert len(steps_of(plans[:80], "test")) >= 80
