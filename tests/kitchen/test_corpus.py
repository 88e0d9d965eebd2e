"""The plan of the corpus: balance, natural pairs, splits, and beginnings that stay the same."""

import collections
import itertools

import pytest

from videobert_jax.kitchen import corpus, palette

TESTS = ("test", "test_unseen_backgrounds", "test_unseen_pairs")


@pytest.fixture(scope="module")
def plans():
    return corpus.plan_videos(corpus.NUM_VIDEOS)


def steps_of(plans, split):
    return [timed.step for plan in plans if plan.split == split for timed in plan.steps]


def test_a_longer_corpus_begins_with_the_shorter_one(plans):
    assert corpus.plan_videos(30) == plans[:30]


@pytest.mark.parametrize("split", ["train", *TESTS])
def test_labels_are_balanced(plans, split):
    steps = steps_of(plans, split)
    verbs = collections.Counter(step.verb for step in steps)
    objects = collections.Counter(step.object for step in steps)
    containers = collections.Counter(step.container for step in steps)
    assert set(verbs) == set(palette.VERBS) and set(objects) == set(palette.OBJECTS)
    assert set(containers) == set(palette.CONTAINERS)
    assert max(verbs.values()) <= 1.3 * min(verbs.values())
    assert max(containers.values()) <= 1.3 * min(containers.values())
    if split != "test_unseen_pairs":  # there a few pairs hold every object
        assert max(objects.values()) <= 1.5 * min(objects.values())


@pytest.mark.parametrize("split", TESTS)
def test_tests_are_large(plans, split):
    assert len(steps_of(plans, split)) >= 200


def test_the_world_is_as_large_as_it_says():
    assert len(palette.VERBS) >= 10 and len(palette.OBJECTS) >= 16
    assert len(palette.CONTAINERS) >= 5


def test_unseen_pairs_are_in_their_test_alone(plans):
    for plan in plans:
        pairs = {(timed.step.verb, timed.step.object) for timed in plan.steps}
        if plan.split == "test_unseen_pairs":
            assert pairs <= palette.UNSEEN_PAIRS
        else:
            assert not pairs & palette.UNSEEN_PAIRS
    told = corpus.plan_videos(corpus.TRANSCRIPTS.stop)[corpus.TRANSCRIPTS.start :]
    said = {(timed.step.verb, timed.step.object) for plan in told for timed in plan.steps}
    assert not said & palette.UNSEEN_PAIRS


def test_every_verb_and_object_of_an_unseen_pair_is_seen_with_others():
    seen = {
        (verb, name)
        for verb, names in palette.VERB_OBJECTS.items()
        for name in names
        if (verb, name) not in palette.UNSEEN_PAIRS
    }
    assert {verb for verb, _ in palette.UNSEEN_PAIRS} == {verb for verb, _ in seen}
    assert {name for _, name in palette.UNSEEN_PAIRS} == {name for _, name in seen}


def test_unseen_backgrounds_share_no_material():
    seen = {material for split in ("train", "test") for material in corpus.materials_of(split)}
    assert not seen & set(corpus.materials_of("test_unseen_backgrounds"))


PAIRS = [pair for group in palette.MOTION_GROUPS for pair in itertools.combinations(group, 2)]


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_verbs_told_apart_by_motion_share_the_rest(pair):
    first, second = pair
    assert palette.VERB_TOOLS[first] == palette.VERB_TOOLS[second]
    assert set(palette.VERB_CONTAINERS[first]) & set(palette.VERB_CONTAINERS[second])
    assert len(set(palette.VERB_OBJECTS[first]) & set(palette.VERB_OBJECTS[second])) >= 2
    assert set(corpus.objects_of(first, "train")) & set(corpus.objects_of(second, "train"))


def test_at_least_three_pairs_are_told_apart_by_motion():
    assert len(PAIRS) >= 3


def test_recipes_follow_the_stages_of_cooking(plans):
    rising = falling = 0
    for plan in plans:
        stages = [palette.VERB_STAGES[timed.step.verb] for timed in plan.steps]
        for first, second in zip(stages, stages[1:], strict=False):
            rising += second > first
            falling += second < first
    assert rising > 4 * falling > 0


def test_steps_are_natural(plans):
    for plan in plans:
        for before, after in zip(plan.steps, plan.steps[1:], strict=False):
            assert before.end < after.start
            assert (before.step.verb, before.step.object) != (after.step.verb, after.step.object)
        for timed in plan.steps:
            step = timed.step
            assert step.object in palette.VERB_OBJECTS[step.verb]
            assert step.container in palette.VERB_CONTAINERS[step.verb]
            assert 3 <= step.seconds <= 5
        assert 4 <= len(plan.steps) <= 8
        assert plan.steps[-1].end <= plan.seconds


def test_tools_do_not_give_verbs_away():
    verbs = collections.Counter(tool for tools in palette.VERB_TOOLS.values() for tool in tools)
    assert verbs["spoon"] == 4 and verbs["knife"] == 3 and verbs["hand"] == 4
