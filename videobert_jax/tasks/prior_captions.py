"""Captions that say what a figure is worth: written by nobody who sees the clips, or by looking up.

chance: a training caption drawn by seed. language_prior: one training caption for all, the most
typical one. nearest_neighbour: that of the training example whose clips are nearest.
supervised_ridge, supervised_mlp: the labels that classifiers tell of the clips, in the words of
training captions (`caption_labels`). shuffled_video: the system's own captions, each for another
example. Of another system's captions there is no network to read clip features for, and so neither
a nearest caption nor a supervised one.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from videobert_jax.tasks import baselines, caption_labels
from videobert_jax.tasks.context import EvaluationContext, PredictionContext
from videobert_jax.tasks.fits import MAX_EXAMPLES

CHANCE, PRIOR = "chance", "language_prior"
NEAREST, SHUFFLED = "nearest_neighbour", "shuffled_video"
_CHUNK = 1024  # rows of similarities at a time


def of(
    context: EvaluationContext | PredictionContext,
    ids: Int[np.ndarray, " n"],
    written: Sequence[str],
) -> tuple[dict[str, list[str]], list[str]]:
    """({baseline: a caption for each example}, notes that say what of)."""
    others = np.random.default_rng(context.seed).permutation(len(ids))
    places = np.empty_like(others)
    places[others] = np.roll(others, 1)  # each example's stand-in, of which none is itself
    found = {SHUFFLED: [written[int(place)] for place in places]}
    split = context.fit_split
    if split is None:
        return found, [
            "no chance, language_prior, nearest_neighbour: the dataset has no other split"
        ]
    known = np.flatnonzero(split.caption_hash != 0)
    nearest, notes = None, []
    if isinstance(context, EvaluationContext):
        shown, features = context.fits.features(split)
        kept = split.caption_hash[shown] != 0
        known = shown[kept]
        if len(known):
            nearest = _nearest(context.features[ids], features[kept])
        supervised, notes = caption_labels.supervised(context, ids)
        found |= supervised
    if not len(known):
        why = f"split {split.name!r} has no captioned clips"
        return found, [f"no chance, language_prior, nearest_neighbour: {why}", *notes]
    known = known[:: -(-len(known) // MAX_EXAMPLES)]
    captions = split.texts(known.tolist())
    drawn = np.random.default_rng(context.seed).integers(len(captions), size=len(ids))
    found[CHANCE] = [captions[int(place)] for place in drawn]
    found[PRIOR] = [most_typical(captions)] * len(ids)
    if nearest is not None:
        found[NEAREST] = [captions[int(place)] for place in nearest]
    return found, [
        f"{', '.join(name for name in (CHANCE, PRIOR, NEAREST) if name in found)}: captions of "
        f"{len(captions)} examples of split {split.name!r}; the most typical one is "
        f"{found[PRIOR][0]!r}",
        *notes,
    ]


def most_typical(captions: list[str]) -> str:
    """The caption whose idf-weighted words have the highest mean cosine with those of all."""
    vectors = baselines.WordVectors.fit(captions, min_count=1).transform(captions)
    return captions[int(np.argmax(vectors @ vectors.mean(axis=0)))]


def _nearest(
    features: Float[np.ndarray, "n c"], known: Float[np.ndarray, "m c"]
) -> Int[np.ndarray, " n"]:
    """The row of `known` with the highest cosine."""
    queries, targets = (baselines.unit_rows(of) for of in (features, known))
    parts = [
        np.argmax(queries[first : first + _CHUNK] @ targets.T, axis=1)
        for first in range(0, len(queries), _CHUNK)
    ]
    return np.concatenate(parts).astype(np.int64)
