"""Probes against ridge regression by normal equations, on features by the network's own parts."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from tests.tasks import conftest
from videobert_jax.files import storage
from videobert_jax.models.videobert import VideoBert
from videobert_jax.tasks import (
    comparison,
    frozen_features,
    labels,
    linear_probe,
    report,
    zero_shot_classification,
)
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.errors import EvaluationError, UnfitSplit


@pytest.fixture(scope="module")
def result(context):
    return linear_probe.evaluate(context)


def of_parts(context, split, ids) -> dict[str, np.ndarray]:
    """The three features by the network's methods, of one batch of clips and hidden words."""
    runner = context.runner
    encodings = runner.encode(split)
    rows = encodings.rows_of(ids)
    video, segments = encodings.video[rows], encodings.video_segment_ids[rows]
    model = VideoBert(dataclasses.replace(context.bundle.config, attention="dense"))
    text = encodings.text[rows]  # of words that no clip may read
    nothing = np.zeros(text.shape[:2], np.int32)
    fuse = jax.jit(functools.partial(model.apply, method="fuse"))
    fused = fuse(context.bundle.variables, text, nothing, video, segments)
    shown = (segments > 0)[..., None]
    mean = lambda states: (states * shown).sum(1) / shown.sum(1)  # noqa: E731
    return {
        "joint_embedding": encodings.video_embeddings[rows],
        "video_tower": mean(video),
        "cross_modal": mean(np.asarray(fused[1])),
    }


def test_features_are_what_the_parts_of_the_network_say(context):
    ids = np.array([17, 3, 29, 4])
    found = frozen_features.of_examples(context.runner, context.split, ids)
    for name, expected in of_parts(context, context.split, ids).items():
        np.testing.assert_allclose(found[name], expected, atol=1e-5)
        assert found[name].dtype == np.float32 and np.ptp(expected, axis=0).max() > 0.1


def test_ranks_are_those_of_ridge_regression_by_normal_equations(context, result):
    fitted = context.fit_split
    inputs = of_parts(context, fitted, np.arange(len(fitted)))
    asked = of_parts(context, context.split, context.ids)
    for kind in ("verb", "object"):
        forms = labels.forms(context.dataset, kind)
        targets = np.eye(len(forms))[labels.ids_of(fitted, kind, forms)]
        right = labels.ids_of(context.split, kind, forms)
        for name in linear_probe.FEATURES:
            mean, scale = inputs[name].mean(0), inputs[name].std(0) + 1e-6
            x = ((inputs[name] - mean) / scale).astype(np.float64)
            gram = x.T @ x
            penalty = result.details["penalties"][kind][name] * np.trace(gram) / len(gram)
            weights = np.linalg.solve(
                gram + penalty * np.eye(len(gram)), x.T @ (targets - targets.mean(0))
            )
            scores = (asked[name] - mean) / scale @ weights + targets.mean(0)
            own = scores[np.arange(len(right)), right][:, None]
            found = np.array([line[kind]["rank_by"][name] for line in result.examples])
            # but for what rounding of the features decides
            least, most = (1 + (scores > own + slack).sum(1) for slack in (1e-4, -1e-4))
            assert (
                (least <= found).all() and (found < most).all() and (most - least == 1).mean() > 0.9
            )
            best = [line[kind]["best_by"][name][0] for line in result.examples]
            assert [list(forms)[label] for label in right[found == 1]] == [
                of for of, rank in zip(best, found, strict=True) if rank == 1
            ]
            for top in (1, 5):
                assert result.metrics[f"{kind}_{name}_top{top}"] == np.mean(found <= top)


def test_baselines_stand_beside_every_features_as_in_zero_shot_classification(context, result):
    peer = zero_shot_classification.evaluate(context)
    for row in ("chance", "majority", "supervised_ridge", "supervised_mlp"):
        for kind in ("verb", "object"):
            for name in linear_probe.FEATURES:
                for top in ("top1", "top5"):
                    expected = peer.baselines[row][f"{kind}_{top}"]
                    assert result.baselines[row][f"{kind}_{name}_{top}"] == expected
    assert result.examples[5]["baselines"]["supervised_ridge"].keys() == {
        "verb_rank",
        "object_rank",
    }
    record = report.record(context, result)
    assert (
        record["setting"] == "linear_probe" and record["intervals"].keys() == result.metrics.keys()
    )
    # an untrained tower mixes the clips' features and loses little of them
    assert result.metrics["verb_video_tower_top1"] > 0.8


def test_another_dataset_than_that_of_training_is_a_probe_too(context, result):
    for names, setting in (([], "linear_probe"), (context.split.videos[:1], "in_sample")):
        trained_on = {"datasets": [], "video_names": names}
        bundle = dataclasses.replace(context.bundle, trained_on=trained_on)
        other = dataclasses.replace(context, bundle=bundle)
        assert report.record(other, result)["setting"] == setting


@pytest.mark.long
def test_two_networks_are_compared_example_by_example(context, result, tmp_path):
    half = {"params": _halved(context.bundle.variables["params"])}
    bundle = dataclasses.replace(context.bundle, variables={**context.bundle.variables, **half})
    other = EvaluationContext(bundle, context.dataset, context.split, 0)
    paths = [storage.path(tmp_path / f"{name}.json") for name in ("one", "two")]
    for path, of in zip(paths, (context, other), strict=True):
        probed = linear_probe.evaluate(of)
        report.write(report.record(of, probed), probed.examples, path)
    sides = [comparison.Result.read(path) for path in paths]
    found = comparison.compare(*sides, intersection=False, seed=0)
    assert found["figures"].keys() == result.metrics.keys()
    assert found["figures"]["verb_joint_embedding_top1"]["num_examples"] == 30


def _halved(tree):
    return {k: _halved(v) if isinstance(v, dict) else 0.5 * v for k, v in tree.items()}


def test_splits_without_labels_to_learn_or_to_tell_are_unfit(bundle, dataset, context, tmp_path):
    unlabelled = dataclasses.replace(context.split, labels={})
    with pytest.raises(UnfitSplit, match="split 'test' has no labels"):
        linear_probe.evaluate(dataclasses.replace(context, split=unlabelled))
    train = dataset.split("train")
    alone = dataclasses.replace(dataset, splits={"train": train})
    with pytest.raises(UnfitSplit, match="no other split than 'train'"):
        linear_probe.evaluate(EvaluationContext(bundle, alone, train, 0))
    bare = dataclasses.replace(train, labels={})
    two = dataclasses.replace(dataset, splits={"train": bare, "test": context.split})
    with pytest.raises(UnfitSplit, match="verb, object of fewer than two videos"):
        linear_probe.evaluate(EvaluationContext(bundle, two, context.split, 0))


def test_damaged_clips_are_named(bundle, tmp_path):
    dataset = conftest.write_dataset(tmp_path / "damaged", damaged=True)
    with pytest.raises(EvaluationError, match="1 of the 30 examples .* damaged"):
        linear_probe.evaluate(EvaluationContext(bundle, dataset, dataset.split("test"), 0))
