"""Scores of the supervised baselines: fitted to another split, measured like the network."""

import numpy as np
from jaxtyping import Float, Int

from videobert_jax.tasks import labels
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.fits import Retrieval
from videobert_jax.tasks.metrics import ranking
from videobert_jax.tasks.metrics.similarity import Similarity

LABELLED, NARRATION = "supervised_ridge", "narration_ridge"


def retrieve(
    context: EvaluationContext, ids: Int[np.ndarray, " n"]
) -> tuple[dict[str, Similarity], list[str]]:
    """({baseline: similarity of every caption and every example's clips}, notes)."""
    texts = context.split.texts(ids.tolist())
    found, notes = retrievals(context)
    return {
        name: of.model.similarity(texts, context.features[ids]) for name, of in found.items()
    }, notes


def retrievals(context: EvaluationContext) -> tuple[dict[str, Retrieval], list[str]]:
    """({baseline: what relates words of captions and clip features}, notes that say what of).

    supervised_ridge learns from exact steps where the dataset has them, narration_ridge from the
    pairs that the network was trained on; one row where these are the same.
    """
    splits = {LABELLED: context.fit_split, NARRATION: context.narration_split}
    if splits[NARRATION] is splits[LABELLED]:
        del splits[NARRATION]
    found, notes = {}, []
    for name, split in splits.items():
        fitted = None if split is None else context.fits.retrieval(split)
        if split is None:
            why = (
                "the dataset has no other split to fit it to"
                if name == LABELLED
                else "the network was trained on no other pairs of this dataset"
            )
            notes.append(f"no {name}: {why}")
        elif fitted is None:
            notes.append(f"no {name}: split {split.name!r} has captions of one video only")
        else:
            found[name] = fitted
            notes.append(
                f"{name}: ridge regression from the mean clip feature to idf-weighted words, "
                f"{fitted.num_examples} examples of split {split.name!r}, penalty "
                f"{fitted.model.ridge.penalty:g} chosen on held-out videos of it"
            )
    return found, notes


def classify(
    context: EvaluationContext, slot: str, ids: Int[np.ndarray, " n"]
) -> tuple[dict[str, Float[np.ndarray, " n"]], str]:
    """({baseline: rank of each example's label}, a note) by labels and clips of another split.

    Empty, with the reason in the note, where no other split has such labels. They are fitted to the
    first label of an example, and right where they tell any.
    """
    split = context.fit_split
    if split is None or slot not in split.labels:
        return {}, f"no supervised baselines of {slot}s: no other split has their labels"
    fitted = context.fits.classifiers(split, slot)
    if fitted is None:
        return {}, f"no supervised baselines of {slot}s: split {split.name!r} has too few labels"
    features = context.features[ids]
    scores = {
        "majority": np.repeat(fitted.majority, len(ids), axis=0),
        LABELLED: fitted.ridge.predict(features),
        "supervised_mlp": fitted.mlp.predict(features),
    }
    right = labels.right(context.dataset, context.split, slot, ids)
    note = (
        f"supervised baselines of {slot}s: from the mean clip feature, {fitted.num_examples} "
        f"labelled examples of split {split.name!r}; ridge: one-hot regression, penalty "
        f"{fitted.ridge.penalty:g}; mlp: one hidden layer, {fitted.mlp.num_steps} steps; both "
        "chosen on held-out videos of it"
    )
    return {name: ranking.first_ranks(values, right) for name, values in scores.items()}, note
