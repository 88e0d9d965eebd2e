"""Heads that nothing taught are asked by no task, unless that is said."""

import argparse
import dataclasses

import pytest

from tests.tasks import asked
from tests.tasks.test_captioning import SETTINGS
from videobert_jax import loading
from videobert_jax.cli import evaluate
from videobert_jax.models import bundle as bundles
from videobert_jax.tasks import (
    action_segmentation,
    captioning,
    fill_mask,
    linear_probe,
    multiple_choice,
    report,
    retrieval,
    step_localization,
    zero_shot_classification,
)
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.errors import UntrainedHead

JOINT, MATCHING, WORDS = "joint_head", "matching_head", "masked_language_head"
BAG_OF_WORDS = "bag_of_words_head"


def taught(bundle: bundles.ModelBundle, *heads: str) -> bundles.ModelBundle:
    """The network as if these heads alone had been trained."""
    return dataclasses.replace(bundle, trained_on={**bundle.trained_on, "heads": [*heads]})


def of(context: EvaluationContext, *heads: str, **settings) -> EvaluationContext:
    bundle = taught(context.bundle, *heads)
    found = dataclasses.replace(context, bundle=bundle, fitted=context.fits, **settings)
    vars(found).update(runner=context.runner, encodings=context.encodings)
    return found


def test_untrained_heads_are_those_that_the_network_has_and_nothing_taught(bundle):
    assert bundle.untrained_heads == set()  # of a run that does not say
    every = taught(bundle).untrained_heads
    assert {JOINT, MATCHING, WORDS, "masked_video_head", "decoder"} <= every
    assert "answer_head" not in every  # the network has none
    assert every <= set(bundle.variables["params"]) and "pooler" not in every
    assert taught(bundle, JOINT, "answer_head").untrained_heads == every - {JOINT}


@pytest.mark.parametrize(
    ("head", "evaluate_task"),
    [
        (JOINT, retrieval.evaluate),
        (JOINT, lambda c: retrieval.evaluate(c, rank_by="both")),
        (BAG_OF_WORDS, lambda c: retrieval.evaluate(c, rank_by="both")),
        (BAG_OF_WORDS, lambda c: retrieval.evaluate(c, rank_by="words")),
        (JOINT, lambda c: step_localization.evaluate(c, step_localization.Settings(0, None))),
        (
            JOINT,
            lambda c: action_segmentation.evaluate(
                c, action_segmentation.Settings(None, "verb", None, 0.0, 0)
            ),
        ),
        (JOINT, lambda c: zero_shot_classification.evaluate(c, scoring="joint_space")),
        (JOINT, lambda c: zero_shot_classification.evaluate(c, scoring="both")),
        (WORDS, zero_shot_classification.evaluate),
        (WORDS, fill_mask.evaluate),
        ("decoder", lambda c: captioning.evaluate(c, SETTINGS)),
    ],
)
def test_a_task_that_asks_an_untrained_head_is_refused(context, head, evaluate_task):
    trained = set(bundles.HEADS) - {head}
    with pytest.raises(UntrainedHead, match=f"told by {head}, which tiny never trained"):
        evaluate_task(of(context, *trained))


def test_retrieval_without_a_matching_head_re_ranks_nothing(context):
    full = retrieval.evaluate(context, shortlist=4)
    result = retrieval.evaluate(of(context, JOINT), shortlist=4)
    assert not [name for name in result.metrics if name.startswith("reranked_")]
    assert result.metrics.items() < full.metrics.items()
    assert "no reranked_*: the matching head was never trained" in result.notes
    assert result.details["shortlist"] == 0


def test_what_was_never_trained_is_measured_where_that_is_said(context):
    allowed = of(context, untrained_heads=True)
    full = retrieval.evaluate(context, shortlist=4)
    found = retrieval.evaluate(allowed, shortlist=4)
    assert found.metrics == full.metrics
    (note,) = [n for n in report.record(allowed, found)["notes"] if "never trained" in n]
    assert note.startswith("asked as they are, though they were never trained: ")
    assert JOINT in note and MATCHING in note
    assert "never trained" not in str(report.record(context, full)["notes"])


def test_scorings_are_those_of_trained_heads(context):
    result = zero_shot_classification.evaluate(of(context, WORDS))
    assert set(result.details["variants"]) == {"cloze", "cloze_less_prior"}


def test_candidates_are_chosen_by_what_was_trained(bundle, tmp_path):
    dataset = asked.write(tmp_path / "asked", videos=4)
    plain = EvaluationContext(bundle, dataset, dataset.split("test"), 0)
    both = multiple_choice.evaluate(plain, choose_by=None)
    assert both.details["choose_by"] == "both"
    for head, name in ((JOINT, "towers"), (MATCHING, "matching")):
        result = multiple_choice.evaluate(of(plain, head), choose_by=None)
        assert result.details["choose_by"] == name and set(result.details["variants"]) == {name}
        assert result.metrics == both.details["variants"][name]
    with pytest.raises(UntrainedHead, match="multiple_choice by both is told by matching_head"):
        multiple_choice.evaluate(of(plain, JOINT), choose_by="both")
    with pytest.raises(UntrainedHead, match="told by joint_head"):
        multiple_choice.evaluate(of(plain), choose_by=None)


def test_tasks_of_untrained_heads_are_left_out_with_the_reason(
    bundle, tmp_path, monkeypatch, capsys
):
    """As `python eval.py --workdir=W` of a run that learnt to answer, on its own questions."""
    dataset = asked.write(tmp_path / "asked", videos=4)
    network = taught(asked.answering(bundle, ("chop", "stir")), "answer_head")
    monkeypatch.setattr(loading, "load_bundle", lambda name, weights: network)
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    flags = ["--checkpoint=x", f"--dataset={dataset.path}", "--platform=cpu"]
    output = tmp_path / "records"
    assert evaluate.run(parser.parse_args([*flags, f"--output={output}"])) == 0
    assert [path.name for path in output.glob("*.json")] == ["question_answering.json"]
    assert "multiple_choice: left out, multiple_choice by both is told by joint_head" in (
        capsys.readouterr().err
    )


def test_linear_probes_say_that_a_feature_is_of_an_untrained_head(context):
    note = "joint_embedding is of a head that was never trained"
    assert note in linear_probe.evaluate(of(context, MATCHING)).notes
    assert note not in linear_probe.evaluate(of(context, JOINT)).notes
