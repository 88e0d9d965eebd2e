"""Hidden words: what is hidden, and figures of networks whose right answer is known."""

import dataclasses

import numpy as np
import pytest

from tests.tasks.test_zero_shot_classification import Oracle, with_runner
from videobert_jax.tasks import fill_mask, labels, words
from videobert_jax.tasks.metrics import classification


def test_a_network_that_sees_the_video_is_right_with_it_alone(context):
    forms = labels.declared(context.dataset, context.split)
    oracle = Oracle(context.runner, context.split, forms)
    result = fill_mask.evaluate(with_runner(context, oracle))
    assert result.metrics["verb_accuracy_with_video"] == 1.0
    assert result.metrics["object_accuracy_with_video"] == 1.0
    assert result.metrics["object_accuracy_without_video"] == 0.0
    # clips of another example are right only by chance
    assert 0.0 < result.metrics["verb_accuracy_with_other_video"] < 0.8
    assert oracle.seen_masks == {0}  # the other words of the sentence are visible


def test_figures_follow_from_the_lines_of_the_examples(context):
    result = fill_mask.evaluate(context)
    for slot in ("verb", "object"):
        ranks = {
            condition: np.array([line[slot][condition]["rank"] for line in result.examples])
            for condition in fill_mask.CONDITIONS
        }
        for condition, values in ranks.items():
            expected = classification.from_ranks(values, "x")["x_top1"]
            assert result.metrics[f"{slot}_accuracy_{condition}"] == expected
        prior = result.baselines["language_prior"][f"{slot}_accuracy_with_video"]
        assert prior == result.metrics[f"{slot}_accuracy_without_video"]
    assert result.baselines["chance"]["verb_accuracy_with_video"] == pytest.approx(1 / 3)
    hidden = {line["object"]["hidden"] for line in result.examples}
    assert "spring onions" in hidden
    for line in result.examples:
        assert line["end"] == context.split.end[line["example_id"]] > line["start"]


def test_without_labels_one_content_word_a_caption_is_drawn_by_seed(context):
    unlabelled = dataclasses.replace(context.split, labels={})
    places: set[int] = set()

    def hidden(seed: int, limit: int | None = None) -> dict[int, str]:
        copy = dataclasses.replace(context, split=unlabelled, seed=seed, limit=limit)
        copy.__dict__["runner"] = context.runner
        result = fill_mask.evaluate(copy)
        assert set(result.baselines) == {"chance", "language_prior"}
        assert 0.0 <= result.metrics["word_accuracy_with_video"] <= 1.0
        for line in result.examples:
            written = words.words_of(line["text"])
            if len(set(written)) == 6:  # the same number to draw from
                places.add(written.index(line["word"]["hidden"]))
        return {line["example_id"]: line["word"]["hidden"] for line in result.examples}

    first = hidden(0)
    assert len(first) == 30 and len(places) > 2
    assert hidden(1) != first
    # an example's draw does not depend on how many are evaluated
    assert hidden(0, limit=10) == {example: first[example] for example in range(10)}
