"""What is true of the pairs and clips that objectives judge, counted anew."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import ablation_reasons, kitchen_runs
from tests import bundles, fakes, packed
from tests.benchmarks.test_ablation import write_run
from videobert_jax import configuration
from videobert_jax.data import index
from videobert_jax.kitchen import vocabulary


@pytest.fixture(scope="module")
def corpus(data):
    return index.open_dataset(data / "kitchen")


@pytest.fixture(scope="module")
def untrained(data, corpus):
    """A network with random weights, as if a run on the corpus had left it."""
    config = configuration.load_file("configs/tiny.py")
    config.data.path = str(data / "kitchen")
    run = configuration.parse(config)
    bundle = bundles.tiny(run, feature_dim=corpus.contract.dim)
    scaling = {"mean": corpus.statistics.mean, "scale": corpus.statistics.scale}
    bundle.variables["constants"]["video_embedding"] = scaling
    bundle = dataclasses.replace(bundle, variables=jax.tree.map(jnp.asarray, bundle.variables))
    return ablation_reasons.Trained(bundle, run)


def clips_of(split, example: int) -> set[int]:
    first = int(split.first_clip[example])
    return set(range(first, first + int(split.clip_count[example])))


def test_an_example_shows_the_step_that_most_of_its_clips_are_of(corpus):
    split, steps = corpus.split("train"), corpus.split("train_steps")
    found = ablation_reasons.shown_steps(split, steps)
    for example, step in enumerate(found):
        shared = {
            other: len(clips_of(split, example) & clips_of(steps, other))
            for other in range(len(steps))
            if steps.videos[steps.video[other]] == split.videos[split.video[example]]
        }
        most = max(shared.values())
        assert (step == -1) if most == 0 else (shared[step] == most)
    assert 0.8 < (found >= 0).mean() < 1  # some lines are spoken where nothing is done


def test_words_fit_clips_where_they_name_verb_and_object(corpus):
    split, steps = corpus.split("train"), corpus.split("train_steps")
    truth = ablation_reasons.Truth.of(corpus, split, steps)
    shown = ablation_reasons.shown_steps(split, steps)
    ids = np.arange(len(split))
    texts = list(split.texts(ids))
    forms = {"verb": vocabulary.VERB_FORMS, "object": vocabulary.OBJECT_FORMS}

    def names(text: str, kind: str, step: int) -> bool:
        label = steps.labels[kind].names[steps.labels[kind].ids[step]]
        return any(re.search(rf"\b{form}\b", text) for form in forms[kind][label])

    for shift in (0, 1, 7):
        clips = np.roll(ids, shift)
        expected = [
            shown[clip] >= 0 and all(names(texts[text], kind, shown[clip]) for kind in forms)
            for text, clip in zip(ids, clips, strict=True)
        ]
        found = truth.fits(ids, clips)
        np.testing.assert_array_equal(found, expected)
        assert (found.mean() > 0.5) == (shift == 0)


def test_whoever_copies_sees_what_is_not_hidden_of_the_same_example():
    block = packed.block()
    features = np.random.default_rng(0).normal(size=(*block.video_segment_ids.shape, 5))
    means, counts = ablation_reasons.seen_means(
        jnp.asarray(features, jnp.float32), fakes.on_device(block)
    )
    used = list(zip(*np.nonzero(block.video_slot_weights), strict=True))
    for row, slot in used:
        segment = block.video_segment_ids[row, block.video_slots[row, slot]]
        seen = (block.video_segment_ids[row] == segment) & ~block.video_masked[row]
        assert counts[row, slot] == seen.sum()
        if seen.any():
            np.testing.assert_allclose(means[row, slot], features[row][seen].mean(0), rtol=1e-5)
    assert len({int(counts[slot]) for slot in used}) > 1


def test_reranking_is_counted_over_all_tests(tmp_path):
    write_run(tmp_path, 1)
    ranks = [(3, 6, 20), (6, 2, 20), (21, 21, 20), (1, 1, 20)]
    for split in kitchen_runs.TESTS:
        record = kitchen_runs.record_file(tmp_path, "retrieval", split)
        record.write_text('{"shortlist": 20}')
        lines = [
            f'{{"text_to_video_rank": {rank}, "reranked_text_to_video_rank": {again}}}'
            for rank, again, _ in ranks
        ]
        record.with_suffix(".examples.jsonl").write_text("\n".join(lines))
    assert ablation_reasons.reranking(tmp_path) == {
        "joint space": 0.5,
        "matching": 0.5,
        "by chance": pytest.approx(3 * 0.25 / 4),
    }


def test_an_untrained_network_knows_no_hidden_clip_where_copying_does(untrained):
    found = ablation_reasons.masked_clips(untrained, "train_steps")
    rates = {side: right.mean() for side, right in found.items()}
    assert len({len(right) for right in found.values()}) == 1
    assert rates["by copying"] > 0.9
    assert rates["with the sentence"] < 0.4 and rates["without it"] < 0.4


@pytest.mark.parametrize("name", ["recipe", "hard_negatives", "cascade"])
def test_pairs_of_training_fit_and_mismatches_seldom_do(name, untrained):
    found = ablation_reasons.fitting_pairs(untrained, name)
    assert found["matched"] > 0.5 > 0.2 > found["mismatched"]
    assert found["pairs"] > 50
