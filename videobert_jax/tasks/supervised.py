"""Rows of the supervised baselines: fitted to another split, measured like the network."""

import numpy as np
from jaxtyping import Int

from videobert_jax.tasks import baselines, labels
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.metrics import classification, ranking


def retrieve(
    context: EvaluationContext, ids: Int[np.ndarray, " n"]
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """({"supervised_ridge": its figures} or nothing, notes that say why)."""
    split = context.fit_split
    if split is None:
        return {}, ["no supervised_ridge: the dataset has no other split to fit it to"]
    fit_ids, features = context.fit_features
    kept = split.caption_hash[fit_ids] != 0
    fit_ids, features = fit_ids[kept], features[kept]
    if len(np.unique(split.video[fit_ids])) < 2:
        return {}, [f"no supervised_ridge: split {split.name!r} has captions of one video only"]
    model = baselines.fit_retrieval(
        features, split.texts(fit_ids.tolist()), split.video[fit_ids], seed=context.seed
    )
    scores = model.scores(context.split.texts(ids.tolist()), context.features[ids])
    targets = np.arange(len(ids))
    figures = ranking.summary(ranking.ranks(scores, targets), "text_to_video")
    figures |= ranking.summary(ranking.ranks(scores.T, targets), "video_to_text")
    for name in list(figures):  # a linear model has no second stage: its figure stands for both
        figures[f"reranked_{name}"] = figures[name]
    note = (
        f"supervised_ridge: ridge regression from the mean clip feature to idf-weighted words, "
        f"{len(fit_ids)} examples of split {split.name!r}, penalty {model.ridge.penalty:g} chosen "
        "on held-out videos of it"
    )
    return {"supervised_ridge": figures}, [note]


def classify(
    context: EvaluationContext,
    slot: str,
    ids: Int[np.ndarray, " n"],
    forms: labels.Forms,
    notes: list[str],
) -> dict[str, dict[str, float]]:
    """{"majority": figures, "supervised_ridge": figures} of labels and clips of another split.

    Empty, with the reason in `notes`, where no other split has such labels.
    """
    split = context.fit_split
    if split is None or slot not in split.labels:
        notes.append(f"no supervised_ridge of {slot}s: no other split has their labels")
        return {}
    fit_ids, features = context.fit_features
    known = labels.ids_of(split, slot, forms)[fit_ids]
    fit_ids, features, known = (values[known >= 0] for values in (fit_ids, features, known))
    if len(np.unique(split.video[fit_ids])) < 2:
        notes.append(f"no supervised_ridge of {slot}s: split {split.name!r} has too few labels")
        return {}
    model = baselines.fit_classifier(
        features, known, len(forms), split.video[fit_ids], seed=context.seed
    )
    notes.append(
        f"supervised_ridge of {slot}s: one-hot ridge regression from the mean clip feature, "
        f"{len(fit_ids)} labelled examples of split {split.name!r}, penalty {model.penalty:g}"
    )
    targets = labels.ids_of(context.split, slot, forms)[ids]
    majority = classification.majority_scores(known, len(forms))
    constant = np.broadcast_to(majority, (len(ids), len(forms)))
    predicted = model.predict(context.features[ids])
    return {
        "majority": classification.summary(constant, targets, slot),
        "supervised_ridge": classification.summary(predicted, targets, slot),
    }
