"""Examples without clips are counted by every task, against what the dataset was made of."""

import functools

import numpy as np
import pytest

from tests.tasks import asked
from tests.tasks.conftest import write_dataset
from tests.tasks.made_tasks import context_of, write_tasks
from tests.tasks.test_captioning import SETTINGS
from videobert_jax.files import digests
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

pytestmark = pytest.mark.usefixtures("no_java")


@pytest.fixture(scope="module")
def absent_video(bundle, tmp_path_factory) -> EvaluationContext:
    """Six test videos of five steps each, of which the third has no clips."""
    dataset = write_dataset(tmp_path_factory.mktemp("absent") / "made", absent=True)
    return EvaluationContext(bundle, dataset, dataset.split("test"), 0)


def counted(context: EvaluationContext, result: report.TaskResult) -> tuple[int, int, int]:
    record = report.record(context, result)
    of, ids = record["dataset"], [line["example_id"] for line in result.examples]
    assert of["ids_digest"] == digests.sha256_array(np.array(ids, np.int64))
    said = f"{record['num_absent']} of the {of['num_expected']} examples have no clips"
    assert any(note.startswith(said) for note in record["notes"]) == (record["num_absent"] > 0)
    return of["num_expected"], of["num_evaluated"], record["num_absent"]


@pytest.mark.parametrize(
    "evaluate",
    [
        pytest.param(zero_shot_classification.evaluate, marks=pytest.mark.long),
        linear_probe.evaluate,
        fill_mask.evaluate,
        functools.partial(retrieval.evaluate, shortlist=0),
        functools.partial(captioning.evaluate, settings=SETTINGS),
    ],
)
def test_every_example_is_evaluated_or_absent(absent_video, evaluate):
    result = evaluate(absent_video)
    assert counted(absent_video, result) == (30, 25, 5)
    assert result.absent.tolist() == [10, 11, 12, 13, 14]
    assert all(line["video"] != "test_2" for line in result.examples)


def test_steps_of_whole_videos_are_counted(bundle, tmp_path):
    dataset = write_tasks(tmp_path / "made", 6, absent=(1, 3))
    context = context_of(bundle, dataset)
    # of the three examples of a video two are of one step
    localized = step_localization.evaluate(context, step_localization.Settings(0, None))
    assert counted(context, localized) == (12, 8, 4)
    settings = action_segmentation.Settings(None, None, None, 0.0, 0)
    segmented = action_segmentation.evaluate(context, settings)
    assert counted(context, segmented) == (6, 4, 2)
    assert segmented.absent.tolist() == [3, 9]  # the first of three examples each


def test_questions_about_no_clips_are_counted(bundle, tmp_path):
    dataset = asked.write(tmp_path / "asked", absent=1)
    context = EvaluationContext(bundle, dataset, dataset.split("test"), 0)
    result = multiple_choice.evaluate(context, choose_by="towers")
    with_candidates = asked.STEPS  # of a video
    assert counted(context, result) == (3 * with_candidates, 2 * with_candidates, with_candidates)
    assert {context.line(e)["video"] for e in result.absent.tolist()} == {"test_1"}
