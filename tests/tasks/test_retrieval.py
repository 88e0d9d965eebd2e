"""Retrieval figures recomputed from the encodings by sorting, and what re-ranking may change."""

import dataclasses

import numpy as np
import pytest

from videobert_jax.tasks import retrieval
from videobert_jax.tasks.context import EvaluationContext


@pytest.fixture(scope="module")
def result(context):
    return retrieval.evaluate(context, shortlist=6)


def test_figures_are_those_of_sorting_the_cosines(context, result):
    text, video = context.encodings.text_embeddings, context.encodings.video_embeddings
    for name, scores in (("text_to_video", text @ video.T), ("video_to_text", video @ text.T)):
        order = np.argsort(-scores, axis=1)
        places = np.array([row.tolist().index(i) + 1 for i, row in enumerate(order)])
        for at in (1, 5, 10):
            assert result.metrics[f"{name}_R{at}"] == pytest.approx(np.mean(places <= at))
        assert result.metrics[f"{name}_median_rank"] == np.median(places)
        assert [line[f"{name}_rank"] for line in result.examples] == places.tolist()


def test_reranking_reorders_the_shortlist_by_the_matching_head(context, result):
    text, video = context.encodings.text_embeddings, context.encodings.video_embeddings
    changed = 0
    for name, scores in (("text_to_video", text @ video.T), ("video_to_text", video @ text.T)):
        for query, line in enumerate(result.examples):
            best = np.argsort(-scores[query])[:6]
            if query not in best:
                assert line[f"reranked_{name}_rank"] == line[f"{name}_rank"]
                continue
            sides = (np.full(6, query), best)
            texts, videos = sides if name == "text_to_video" else sides[::-1]
            logits = context.runner.matching_scores(context.encodings, texts, videos)
            place = 1 + best[np.argsort(-logits)].tolist().index(query)
            assert line[f"reranked_{name}_rank"] == place
            changed += place != line[f"{name}_rank"]
    assert changed, "an untrained matching head must reorder something for this test to say a thing"


def test_linear_baseline_learns_what_the_untrained_network_cannot(result):
    ridge, chance = result.baselines["supervised_ridge"], result.baselines["chance"]
    assert ridge["text_to_video_R10"] > 2 * chance["text_to_video_R10"]
    assert chance["text_to_video_R1"] == pytest.approx(1 / 30)
    assert set(chance) == set(ridge) == set(result.metrics)


def test_cut_examples_and_repeated_captions_are_counted(bundle, dataset, result):
    assert result.details["num_duplicate_captions"] == 0
    assert result.truncation == {"video_examples_cut": 0, "text_examples_cut": 0}
    short = dataclasses.replace(
        bundle, data=dataclasses.replace(bundle.data, text_length=16, video_length=2)
    )
    split = dataset.split("test")
    cut = retrieval.evaluate(EvaluationContext(short, dataset, split, 0), shortlist=0).truncation
    assert cut["video_examples_cut"] == (split.clip_count > 2).sum() > 0
    assert cut["text_examples_cut"] == 30
