"""Results of one protocol may differ in how their systems answered, never in what was asked."""

import argparse
import dataclasses
import json

import numpy as np
import pytest

from tests.tasks import asked
from tests.tasks.made_tasks import STEPS, context_of, write_tasks
from tests.tasks.test_action_segmentation import with_head
from tests.tasks.test_captioning import SETTINGS, WRITING
from videobert_jax.cli import evaluate
from videobert_jax.tasks import (
    action_segmentation,
    captioning,
    comparison,
    multiple_choice,
    report,
    retrieval,
    step_localization,
    zero_shot_classification,
)
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.errors import EvaluationError

pytestmark = pytest.mark.usefixtures("no_java")


@pytest.fixture
def kept(tmp_path):
    """A function that writes results of contexts and reads them as `compare` does."""

    def keep(name: str, context: EvaluationContext, result: report.TaskResult):
        output = tmp_path / f"{name}.json"
        report.write(report.record(context, result), result.examples, output)
        return comparison.Result.read(output)

    return keep


def compare(first: comparison.Result, second: comparison.Result) -> dict:
    found = comparison.compare(first, second, intersection=False, seed=0)
    for name, of in found["figures"].items():
        told = [side.record["metrics"][name] for side in (first, second)]
        assert [of["first"], of["second"]] == pytest.approx(told), name
    return found


@pytest.mark.long
def test_captions_are_compared_with_another_systems_and_with_another_search(
    context, kept, dataset, tmp_path
):
    ours = kept("ours", context, captioning.evaluate(context, SETTINGS))
    greedy = dataclasses.replace(SETTINGS, writing=WRITING | {"beams": 1})
    other = kept("greedy", context, captioning.evaluate(context, greedy))
    found = compare(ours, other)
    (note,) = found["notes"]
    assert note.startswith("answered_by: 'told from the clips; ")
    assert "beams=2" in note and "beams=1" in note
    texts = context.split.texts(range(30))
    file = tmp_path / "captions.json"
    file.write_text(
        json.dumps([{"id": i, "caption": texts[(i + 1) % 30]} for i in range(len(texts))])
    )
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    flags = [f"--predictions={file}", f"--dataset={dataset.path}", "--task=captioning"]
    evaluate.run(parser.parse_args(flags))
    theirs = comparison.Result.read(tmp_path / "captions.json_eval" / "captioning.json")
    found = compare(ours, theirs)
    assert found["notes"] == [] and found["figures"]["CIDEr_D"]["p_value"] < 0.1
    assert found["figures"]["exact_verb"]["second"] > found["figures"]["exact_verb"]["first"]


def test_thresholds_and_heads_of_segmentation_are_no_protocol(bundle, kept, tmp_path):
    kinds = {"step": STEPS, "task": {"tea": ["tea"], "soup": ["soup"]}}
    dataset = write_tasks(tmp_path / "made", 4, training=3, label_surface_forms=kinds)
    sides = {}
    for name, settings in {
        "chosen": action_segmentation.Settings("joint_space", None, None, None, 0),
        "given": action_segmentation.Settings("joint_space", None, None, -0.5, 1),
        "head": action_segmentation.Settings("head", None, None, None, 0),
    }.items():
        context = context_of(with_head(bundle), dataset)
        sides[name] = kept(name, context, action_segmentation.evaluate(context, settings))
    for other, told in (("given", "below -0.5 (given)"), ("head", "by the network's head")):
        found = compare(sides["chosen"], sides[other])
        assert found["figures"]["frame_accuracy"]["p_value"] is not None
        assert told in found["notes"][0] and "best on the training split" in found["notes"][0]
    other_kind = action_segmentation.Settings("joint_space", "task", None, 0.0, 0)
    context = context_of(bundle, dataset)
    asked_otherwise = kept("kind", context, action_segmentation.evaluate(context, other_kind))
    with pytest.raises(EvaluationError, match="protocol is .* labels of kind 'step'.*'task'"):
        compare(sides["chosen"], asked_otherwise)


@pytest.mark.long
def test_scorings_templates_and_choices_are_compared_and_told(context, bundle, kept, tmp_path):
    by = {
        name: kept(name, context, zero_shot_classification.evaluate(context, scoring=name))
        for name in ("cloze", "joint_space")
    }
    found = compare(by["cloze"], by["joint_space"])
    assert found["figures"].keys() == by["cloze"].record["metrics"].keys()
    assert "by cloze: " in found["notes"][0] and "in the joint space: " in found["notes"][0]
    texts = ["{verb} the {object}"]
    result = zero_shot_classification.evaluate(context, template_texts=texts)
    found = compare(by["cloze"], kept("template", context, result))
    assert found["notes"] == [
        f"templates: {by['cloze'].record['templates']!r} in {by['cloze'].file}, {texts!r} in "
        f"{tmp_path / 'template.json'}"
    ]
    questions = asked.write(tmp_path / "asked")
    of = EvaluationContext(bundle, questions, questions.split("test"), 0)
    towers, matching = (
        kept(name, of, multiple_choice.evaluate(of, choose_by=name))
        for name in ("towers", "matching")
    )
    assert "by towers" in compare(towers, matching)["notes"][0]


def test_what_is_asked_is_the_protocol(context, kept):
    """The row of videos in which steps are looked for, and what counts in a ranking."""
    rows = {}
    for seed in (0, 1):
        seeded = EvaluationContext(context.bundle, context.dataset, context.split, seed)
        vars(seeded).update(runner=context.runner)
        settings = step_localization.Settings(0, None)
        rows[seed] = kept(f"seed_{seed}", seeded, step_localization.evaluate(seeded, settings))
        alone = dataclasses.replace(settings, other_videos=0)
        rows[f"alone {seed}"] = kept(
            f"alone_{seed}", seeded, step_localization.evaluate(seeded, alone)
        )
    with pytest.raises(EvaluationError, match="protocol is .*by seed 0.*by seed 1"):
        compare(rows[0], rows[1])
    found = compare(rows["alone 0"], rows["alone 1"])  # nothing is drawn
    assert np.isclose(found["figures"]["average_recall"]["difference"], 0)
    ways = [
        kept(name, context, retrieval.evaluate(context, shortlist=0, normalization=name))
        for name in retrieval.NORMALIZATIONS
    ]
    with pytest.raises(EvaluationError, match="protocol is .*Dual softmax"):
        compare(*ways)
