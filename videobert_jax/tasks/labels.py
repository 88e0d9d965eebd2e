"""The declared lists of verbs and objects of a dataset, and the labels of its splits in them."""

import numpy as np
from jaxtyping import Int

from videobert_jax.data.index import NO_LABEL, Dataset, Split
from videobert_jax.tasks.templates import SLOTS

Forms = dict[str, list[str]]  # label -> its surface forms, the base form first


def declared(dataset: Dataset, split: Split) -> dict[str, Forms]:
    """Slot -> label -> surface forms, for the kinds of labels that `split` has.

    The list is the dataset's (metadata "label_surface_forms") and the labels of all its splits,
    whichever of them occur in the evaluated one. A label without declared forms is its own name,
    underscores as spaces.
    """
    stated = dataset.metadata.get("label_surface_forms", {})
    found: dict[str, Forms] = {}
    for slot in SLOTS:
        of_splits = [s.labels[slot].names for s in dataset.splits.values() if slot in s.labels]
        names = {*stated.get(slot, {}), *(name for names in of_splits for name in names)}
        if slot in split.labels:
            found[slot] = {
                name: list(stated.get(slot, {}).get(name) or [name.replace("_", " ")])
                for name in sorted(names)
            }
    return found


def ids_of(split: Split, slot: str, forms: Forms) -> Int[np.ndarray, " n"]:
    """Label of every example of a split as its place in the declared list, -1 for none."""
    if slot not in split.labels:
        return np.full(len(split), NO_LABEL, np.int64)
    place = {name: i for i, name in enumerate(forms)}
    labels = split.labels[slot]
    table = np.array([*(place[name] for name in labels.names), NO_LABEL], np.int64)
    return table[labels.ids]
