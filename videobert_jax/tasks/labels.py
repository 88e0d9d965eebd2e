"""The declared labels of a dataset (verbs, objects, ...), and those of its splits in them."""

import numpy as np
from jaxtyping import Int

from videobert_jax.data.index import Dataset, Split
from videobert_jax.schema import NO_LABEL
from videobert_jax.tasks import words

Forms = dict[str, list[str]]  # label -> its surface forms, the base form first


def kinds(dataset: Dataset, split: Split) -> list[str]:
    """Kinds of labels that are evaluated: those of the split that the dataset declares forms for
    (metadata "label_surface_forms"), all of the split's where it declares none."""
    return [
        k for k in dataset.metadata.get("label_surface_forms", split.labels) if k in split.labels
    ]


def declared(dataset: Dataset, split: Split) -> dict[str, Forms]:
    """Slot -> its `forms`, for the `kinds` of labels of `split`."""
    return {kind: forms(dataset, kind) for kind in kinds(dataset, split)}


def forms(dataset: Dataset, kind: str) -> Forms:
    """Label -> surface forms, in the order of the labels' names.

    The list is the dataset's (metadata "label_surface_forms") and the labels of all its splits,
    whichever of them occur in the evaluated one. A label without declared forms is its own name,
    underscores as spaces.
    """
    stated = dataset.metadata.get("label_surface_forms", {}).get(kind, {})
    of_splits = [
        split.labels[kind].names for split in dataset.splits.values() if kind in split.labels
    ]
    names = {*stated, *(name for names in of_splits for name in names)}
    return {name: list(stated.get(name) or [name.replace("_", " ")]) for name in sorted(names)}


def actions(dataset: Dataset, split: Split, ids: Int[np.ndarray, " n"]) -> np.ndarray | None:
    """A number a combination of labels of all `kinds` that each example has: int64 [n].

    None unless every example has all of them.
    """
    known = [split.labels[kind].ids[ids] for kind in kinds(dataset, split)]
    if not known or any((values == NO_LABEL).any() for values in known):
        return None
    return np.unique(np.stack(known, axis=1), axis=0, return_inverse=True)[1].reshape(-1)


def num_fitting(
    dataset: Dataset, split: Split, ids: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """Number of examples whose labels are all that the caption of each says.

    Of a kind that a caption names no label of, any will do; of several that it names, one of them.
    An example always fits its own caption, as if that were without error.
    """
    of_kinds = declared(dataset, split)
    known = np.stack([ids_of(split, kind, of)[ids] for kind, of in of_kinds.items()], axis=1)
    # examples with the same labels fit the same captions
    distinct, own, counts = np.unique(known, axis=0, return_inverse=True, return_counts=True)
    fits = np.ones((len(ids), len(distinct)), dtype=bool)
    texts = split.texts(ids.tolist())
    for column, of_kind in enumerate(of_kinds.values()):
        named = np.zeros((len(ids), len(of_kind) + 1), dtype=bool)  # the last: no label
        place = {name: i for i, name in enumerate(of_kind)}
        for row, text in enumerate(texts):
            found = [place[label] for label, *_ in words.find_forms(text, of_kind)]
            named[row, found or slice(None)] = True
        fits &= named[:, distinct[:, column]]
    return fits @ counts + ~fits[np.arange(len(ids)), own.reshape(-1)]


def ids_of(split: Split, kind: str, of_kind: Forms) -> Int[np.ndarray, " n"]:
    """Label of every example of a split as its place in the declared list, -1 for none."""
    if kind not in split.labels:
        return np.full(len(split), NO_LABEL, np.int64)
    place = {name: i for i, name in enumerate(of_kind)}
    labels = split.labels[kind]
    table = np.array([*(place[name] for name in labels.names), NO_LABEL], np.int64)
    return table[labels.ids]
