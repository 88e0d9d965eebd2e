"""Answers by whoever learnt from the same questions without this network.

majority: the most frequent answer for all. majority_of_kind: that of the question's kind, or, where
nobody sorted them, of its first two words. question_ridge: ridge regression from the words of the
question to its answer; supervised_ridge: from those and the mean of its clip features.
"""

import collections
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from videobert_jax.data import answers
from videobert_jax.tasks import baselines, questions
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.errors import UnfitSplit
from videobert_jax.tasks.metrics import classification
from videobert_jax.tasks.questions import Question

_MOST_WORDS = 1000  # of questions, about as many as a clip feature has dimensions


def of(
    context: EvaluationContext, ids: Int[np.ndarray, " n"], asked: Sequence[Question]
) -> tuple[dict[str, Float[np.ndarray, " n"]], list[str]]:
    """({baseline: how much each question counts as right}, notes that say what of)."""
    split = context.fit_split
    if split is None:
        return {}, ["no baselines of training: the dataset has no other split to fit them to"]
    try:
        of_split = questions.of_split(context.dataset, split)
    except UnfitSplit as error:
        return {}, [f"no baselines of training: {error}"]
    told = answers.most_frequent([split], len(context.bundle.answers))
    number = {answer: place for place, answer in enumerate(told)}
    known_ids, features = context.fits.features(split)
    known = [of_split[example] for example in known_ids.tolist()]
    labels = np.array([number.get(question.answer, -1) for question in known])
    right = np.array([number.get(question.answer, -1) for question in asked])
    kept = np.flatnonzero(labels >= 0)
    known, labels, features = [known[i] for i in kept.tolist()], labels[kept], features[kept]
    videos = np.asarray(split.video[known_ids[kept]])
    if len(np.unique(videos)) < 2:
        return {}, [f"no baselines of training: split {split.name!r} has questions of one video"]

    found = _majorities(known, labels, asked, right, len(told))
    words = baselines.WordVectors.fit([q.text for q in known], min_count=_min_count(known))
    of_known, of_asked = (
        words.transform([question.text for question in of]) for of in (known, asked)
    )
    for name, learnt, given in (
        ("question_ridge", of_known, of_asked),
        (
            "supervised_ridge",
            np.concatenate([features, of_known], axis=1),
            np.concatenate([context.features[ids], of_asked], axis=1),
        ),
    ):
        ridge = baselines.fit_classifier(learnt, labels, len(told), videos, seed=context.seed)
        found[name] = classification.right_shares(ridge.predict(given), right)
    what = f"{len(known)} questions of split {split.name!r}"
    return found, [f"{', '.join(found)}: {what}, {len(words.index)} words"]


def _majorities(
    known: Sequence[Question],
    labels: Int[np.ndarray, " m"],
    asked: Sequence[Question],
    right: Int[np.ndarray, " n"],
    count: int,
) -> dict[str, Float[np.ndarray, " n"]]:
    frequent = int(np.bincount(labels, minlength=count).argmax())
    by_key: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for question, label in zip(known, labels.tolist(), strict=True):
        by_key[_key(question)][label] += 1
    of_key = {key: counts.most_common(1)[0][0] for key, counts in by_key.items()}
    guessed = np.array([of_key.get(_key(question), frequent) for question in asked])
    return {
        "majority": (right == frequent).astype(np.float64),
        "majority_of_kind": (right == guessed).astype(np.float64),
    }


def _key(question: Question) -> str:
    first = question.text.lower().split()[:2]
    return " ".join(first) if question.kind == " ".join(first[:1]) else question.kind


def _min_count(known: Sequence[Question]) -> int:
    """Of how many questions a word has to be part, for at most so many words; 2 or more."""
    counts = collections.Counter(
        word for question in known for word in set(baselines.words.words_of(question.text))
    )
    ordered = sorted(counts.values(), reverse=True)
    return max(2, ordered[_MOST_WORDS] + 1 if len(ordered) > _MOST_WORDS else 2)
