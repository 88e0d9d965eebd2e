"""Answers to questions as numbers: the most frequent ones of training are what a network can tell.

Which question is asked is the text of an example, its answer a label of the kind "answer".
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Int32

from videobert_jax import schema
from videobert_jax.data import random_reads
from videobert_jax.data.index import Split

KIND = "answer"


def most_frequent(splits: Sequence[Split], size: int | None = None) -> tuple[str, ...]:
    """Answers to the splits' questions, at most `size`, the most frequent first, of equal ones in
    the order of the alphabet; none where no split has any."""
    counts: dict[str, int] = {}
    for split in splits:
        if KIND in split.labels:
            labels = split.labels[KIND]
            known = labels.ids[labels.ids != schema.NO_LABEL]
            found = np.bincount(known, minlength=len(labels.names)).tolist()
            for name, count in zip(labels.names, found, strict=True):
                counts[name] = counts.get(name, 0) + count
    asked = [name for name, count in counts.items() if count]
    return tuple(sorted(asked, key=lambda name: (-counts[name], name))[:size])


def numbers(split: Split, answers: Sequence[str]) -> Int32[np.ndarray, " n"] | None:
    """Number among `answers` of each name of the split's answers, NO_ANSWER of others; None where
    it has none or there are none to tell."""
    if KIND not in split.labels or not answers:
        return None
    number = {name: place for place, name in enumerate(answers)}
    names = split.labels[KIND].names
    return np.array([number.get(name, schema.NO_ANSWER) for name in names], np.int32)


def of_examples(
    split: Split, ids: Int[np.ndarray, " n"], of_names: Int32[np.ndarray, " a"]
) -> Int32[np.ndarray, " n"]:
    """Number of the answer of each example, NO_ANSWER where it has none that is told."""
    known = random_reads.take(split.labels[KIND].ids, ids)
    return np.where(known == schema.NO_LABEL, np.int32(schema.NO_ANSWER), of_names[known])
