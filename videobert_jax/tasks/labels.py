"""The declared labels of a dataset (verbs, objects, ...), and those of its splits in them."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from videobert_jax.data.index import Dataset, Split, annotations_file
from videobert_jax.files import digests
from videobert_jax.schema import NO_LABEL
from videobert_jax.tasks import words
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.metrics import classification
from videobert_jax.tasks.metrics.relevance import Groups, Right, Shared

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


def actions(dataset: Dataset, split: Split, ids: Int[np.ndarray, " n"]) -> Right | None:
    """Which examples show the action of each: those that have its labels of all `kinds`, of several
    of a kind (`right`) one of them. None unless every example has a label of each.

    Raises as `right`.
    """
    of_kinds = [right(dataset, split, kind, ids) for kind in kinds(dataset, split)]
    if not of_kinds or not all(of.any(axis=1).all() for of in of_kinds):
        return None
    if any((of.sum(axis=1) > 1).any() for of in of_kinds):
        return Shared(tuple(np.ascontiguousarray(of.T) for of in of_kinds))
    only = np.stack([of.argmax(axis=1) for of in of_kinds], axis=1)
    return Groups(np.unique(only, axis=0, return_inverse=True)[1].reshape(-1))


def right(
    dataset: Dataset, split: Split, kind: str, ids: Int[np.ndarray, " n"]
) -> Bool[np.ndarray, "n k"]:
    """Which of the `forms` of a kind are right of each example.

    That of the index and, where the split's annotations name several of a kind for a step
    ("labels" of its "steps", which are the examples of its video in order), each of those: whoever
    tells one of them is right (Sun et al. 2019, section 4.3). None is, where it has no label.
    Raises EvaluationError where annotations and examples do not fit.
    """
    of_kind = forms(dataset, kind)
    found = ids_of(split, kind, of_kind)[ids, None] == np.arange(len(of_kind))[None]
    place = {name: i for i, name in enumerate(of_kind)}
    rows = {example: row for row, example in enumerate(ids.tolist())}
    for video, steps in _labels_of_steps(dataset, split, kind, place):
        examples = np.flatnonzero(split.video == video)
        if len(examples) not in (0, len(steps)):  # 0: damaged, and so left out of training
            raise EvaluationError(
                f"{dataset.path}: video {split.videos[video]!r} has {len(examples)} examples and "
                f"{len(steps)} labelled steps in its annotations; prepare the dataset anew."
            )
        for example, told in zip(examples.tolist(), steps, strict=False):
            if example in rows:
                found[rows[example], [place[name] for name in told]] = True
    return found


def line(names: list[str], first: int, of_example: Bool[np.ndarray, " k"]) -> dict[str, Any]:
    """What a line says of an example's labels: "label", its first, and where it has several,
    "labels", all that are right."""
    found = {"label": names[first]}
    several = np.flatnonzero(of_example).tolist()
    return found if len(several) == 1 else {**found, "labels": [names[i] for i in several]}


def several(of_kinds: Sequence[np.ndarray]) -> str:
    """What a protocol says of examples with several labels, of kinds of which `right` is given;
    nothing where there are none."""
    if all((of.sum(axis=1) <= 1).all() for of in of_kinds):
        return ""
    return ", of several labels of an example each right and the first of them told counting"


def chance(of_kind: Bool[np.ndarray, "n k"], prefix: str) -> dict[str, float]:
    """`classification.chance` of examples of which these labels are right."""
    return classification.chance(of_kind.shape[1], prefix, of_kind.sum(axis=1))


def digest(of_kind: Forms) -> str:
    """sha256 of the labels of a kind and how they are said."""
    return digests.sha256_json(of_kind)


def _labels_of_steps(
    dataset: Dataset, split: Split, kind: str, known: Collection[str]
) -> Iterator[tuple[int, list[list[str]]]]:
    """(number of a video, the labels of a kind of each of its steps) of those whose steps have
    labels in the annotations. Raises EvaluationError where these are not such as are written."""
    if not (dataset.path / annotations_file(split.name)).is_file():
        return
    for video, about in enumerate(dataset.annotations(split.name)):
        steps = about.get("steps") if isinstance(about, dict) else None
        if not isinstance(steps, list):
            continue
        if not any(isinstance(step, dict) and "labels" in step for step in steps):
            continue  # other datasets say other things there
        try:
            told = [list(step["labels"].get(kind, ())) for step in steps]
            if not all(name in known for names in told for name in names):
                raise ValueError(f"of {kind} there is no such label")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise EvaluationError(
                f"{dataset.path}: line {video + 1} of {annotations_file(split.name)} does not say "
                f"labels of steps as they are written ({error}); prepare the dataset anew."
            ) from error
        yield video, told


def num_fitting(
    dataset: Dataset, split: Split, ids: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """Number of examples whose labels are all that the caption of each says.

    Of a kind that a caption names no label of, any will do; of several that it names, one of them,
    and of an example with several labels (`right`) it names all. An example always fits its own
    caption, as if that were without error. Raises as `right`.
    """
    of_kinds = declared(dataset, split)
    known = [right(dataset, split, kind, ids) for kind in of_kinds]
    ends = np.cumsum([of.shape[1] for of in known])[:-1]
    # examples with the same labels fit the same captions
    distinct, own, counts = np.unique(
        np.concatenate(known, axis=1), axis=0, return_inverse=True, return_counts=True
    )
    of_distinct, own = np.split(distinct, ends, axis=1), own.reshape(-1)
    found = np.zeros(len(ids), np.int64)
    for row, text in enumerate(split.texts(ids.tolist())):
        fits = np.ones(len(distinct), dtype=bool)
        for has, of_kind in zip(of_distinct, of_kinds.values(), strict=True):
            place = {name: i for i, name in enumerate(of_kind)}
            named = [place[label] for label, *_ in words.find_forms(text, of_kind)]
            if named:
                fits &= has[:, named].any(axis=1) & ~np.delete(has, named, axis=1).any(axis=1)
        found[row] = fits @ counts + (not fits[own[row]])
    return found


def ids_of(split: Split, kind: str, of_kind: Forms) -> Int[np.ndarray, " n"]:
    """Label of every example of a split as its place in the declared list, -1 for none."""
    if kind not in split.labels:
        return np.full(len(split), NO_LABEL, np.int64)
    place = {name: i for i, name in enumerate(of_kind)}
    labels = split.labels[kind]
    table = np.array([*(place[name] for name in labels.names), NO_LABEL], np.int64)
    return table[labels.ids]
