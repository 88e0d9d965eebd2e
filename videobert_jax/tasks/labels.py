"""The declared labels of a dataset (verbs, objects, ...), and those of its splits in them."""

import numpy as np
from jaxtyping import Bool, Int

from videobert_jax.data.index import NO_LABEL, Dataset, Split
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


def same_action(dataset: Dataset, split: Split, ids: Int[np.ndarray, " n"]) -> np.ndarray | None:
    """Whether two of the examples have the same labels of all `kinds`: bool [n, n].

    None unless every example has all of them.
    """
    known = [split.labels[kind].ids[ids] for kind in kinds(dataset, split)]
    if not known or any((values == NO_LABEL).any() for values in known):
        return None
    actions = np.unique(np.stack(known, axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    return actions[:, None] == actions[None]


def fitting_captions(
    dataset: Dataset, split: Split, ids: Int[np.ndarray, " n"]
) -> Bool[np.ndarray, "n n"]:
    """Whether the labels of an example (column) are all that a caption (row) says.

    Of a kind that a caption names no label of, any will do; of several that it names, one of them.
    An example always fits its own caption, as if that were without error.
    """
    fits = np.ones((len(ids), len(ids)), dtype=bool)
    texts = split.texts(ids.tolist())
    for kind, of_kind in declared(dataset, split).items():
        named = np.zeros((len(ids), len(of_kind) + 1), dtype=bool)  # the last: no label
        place = {name: i for i, name in enumerate(of_kind)}
        for row, text in enumerate(texts):
            found = [place[label] for label, *_ in words.find_forms(text, of_kind)]
            named[row, found or slice(None)] = True
        fits &= named[:, ids_of(split, kind, of_kind)[ids]]
    np.fill_diagonal(fits, True)
    return fits


def ids_of(split: Split, kind: str, of_kind: Forms) -> Int[np.ndarray, " n"]:
    """Label of every example of a split as its place in the declared list, -1 for none."""
    if kind not in split.labels:
        return np.full(len(split), NO_LABEL, np.int64)
    place = {name: i for i, name in enumerate(of_kind)}
    labels = split.labels[kind]
    table = np.array([*(place[name] for name in labels.names), NO_LABEL], np.int64)
    return table[labels.ids]
