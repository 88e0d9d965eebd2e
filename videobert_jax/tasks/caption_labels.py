"""Captions and labels: which labels captions name, and captions of labels that are told.

A caption is exact in a kind (verb, object, ...) where of that kind it names the label of its
example, or all of its labels, and no other, by the surface forms that the dataset declares.
"""

import collections
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from videobert_jax.data.index import Dataset, Split
from videobert_jax.tasks import labels, words
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.labels import Forms

RIDGE, MLP = "supervised_ridge", "supervised_mlp"
ALL = "all"  # kinds of an example
Exact = dict[str, bool]  # kind, or ALL -> whether a caption is exact in it


def exact(
    dataset: Dataset, split: Split, ids: Int[np.ndarray, " n"], captions: Sequence[str]
) -> list[Exact]:
    """What each caption is exact in, of the kinds of which its example has a label; none, {}."""
    found: list[Exact] = [{} for _ in captions]
    for kind, forms in labels.declared(dataset, split).items():
        place = {label: number for number, label in enumerate(forms)}
        right = labels.right(dataset, split, kind, ids)
        for of, own, caption in zip(found, right, captions, strict=True):
            if own.any():
                named = {place[label] for label, *_ in words.find_forms(caption, forms)}
                of[kind] = named == set(np.flatnonzero(own).tolist())
    return [{**of, ALL: all(of.values())} if of else of for of in found]


def supervised(
    context: EvaluationContext, ids: Int[np.ndarray, " n"]
) -> tuple[dict[str, list[str]], list[str]]:
    """({baseline: captions of the labels that it tells of each example's clips}, notes).

    Each label by a classifier of the mean clip feature, all of an example put into words as
    captions of the other split are (`in_words`). Empty where no other split has such labels.
    """
    split, kinds = context.fit_split, labels.kinds(context.dataset, context.split)
    if split is None or not kinds or any(kind not in split.labels for kind in kinds):
        return {}, ["no supervised captions: no other split has the examples' labels"]
    fitted = {kind: context.fits.classifiers(split, kind) for kind in kinds}
    if None in fitted.values():
        return {}, [f"no supervised captions: split {split.name!r} has too few labels"]
    patterns = Patterns(context.dataset, split, kinds)
    if not patterns.captions:
        return {}, [f"no supervised captions: none of split {split.name!r} names its labels"]
    features = context.features[ids]
    found = {}
    for name, of in ((RIDGE, "ridge"), (MLP, "mlp")):
        told = []
        for kind in kinds:
            scores = getattr(fitted[kind], of).predict(features)
            names = list(patterns.forms[kind])
            told.append([names[place] for place in scores.argmax(axis=1).tolist()])
        found[name] = [patterns.in_words(of_example) for of_example in zip(*told, strict=True)]
    return found, [
        f"{RIDGE}, {MLP}: {', '.join(kinds)} told from the mean clip feature by classifiers fitted "
        f"to split {split.name!r}, in the words of its captions that have most of these labels"
    ]


class Patterns:
    """Captions of a split that are exact in all `kinds`, with one label each, by their labels."""

    def __init__(self, dataset: Dataset, split: Split, kinds: Sequence[str]):
        self.forms: Mapping[str, Forms] = {kind: labels.forms(dataset, kind) for kind in kinds}
        ids = np.flatnonzero(split.caption_hash != 0)
        texts = split.texts(ids.tolist())
        names = [_names(split, kind) for kind in kinds]
        counts = [labels.right(dataset, split, kind, ids).sum(axis=1) for kind in kinds]
        has_one = (np.stack(counts) == 1).all(axis=0).tolist()  # of each kind
        self.captions: dict[tuple[str, ...], list[str]] = {}
        for example, text, of, is_single in zip(
            ids.tolist(), texts, exact(dataset, split, ids, texts), has_one, strict=True
        ):
            if is_single and all(of.get(kind, False) for kind in kinds):
                own = tuple(str(names_of[example]) for names_of in names)
                self.captions.setdefault(own, []).append(text)
        self._told: dict[tuple[str, ...], str] = {}

    def in_words(self, told: tuple[str, ...]) -> str:
        """What becomes most often of the captions that have most of the labels `told`, one a kind,
        with the words of their other labels exchanged for base forms."""
        if told not in self._told:
            shared = {own: _num_same(own, told) for own in self.captions}
            most = max(shared.values())
            texts = (
                self._exchanged(text, own, told)
                for own, count in shared.items()
                if count == most
                for text in self.captions[own]
            )
            self._told[told] = collections.Counter(texts).most_common(1)[0][0]
        return self._told[told]

    def _exchanged(self, text: str, own: tuple[str, ...], told: tuple[str, ...]) -> str:
        exchanges = []
        for forms, before, after in zip(self.forms.values(), own, told, strict=True):
            if before != after:
                ((_, _, places),) = words.find_forms(text, forms)
                exchanges += [(first, first + count, forms[after][0]) for first, count in places]
        # From the right, so that places stay right. Those of two kinds may share a word.
        written = text.split()
        exchanged = len(written)
        for first, behind, form in sorted(exchanges, reverse=True):
            if behind <= exchanged:
                written[first:behind] = [form]
                exchanged = first
        return " ".join(written)


def _num_same(first: tuple[str, ...], second: tuple[str, ...]) -> int:
    return sum(one == other for one, other in zip(first, second, strict=True))


def _names(split: Split, kind: str) -> list[str | None]:
    """Name of each example's label of a kind, None where it has none."""
    of = split.labels[kind]
    return [of.names[number] if number >= 0 else None for number in of.ids.tolist()]
