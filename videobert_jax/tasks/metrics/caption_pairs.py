"""Candidates beside the references of their examples, checked and split into words."""

import collections
import dataclasses
import functools
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from jaxtyping import Int

from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.metrics import caption_tokens

_SHOWN = 5  # ids in a message


@dataclasses.dataclass(frozen=True)
class CaptionPairs:
    """An example a place: its id, its candidate and its references, as `tokenize` gives them."""

    ids: tuple[Hashable, ...]
    candidates: tuple[str, ...]
    references: tuple[tuple[str, ...], ...]

    @functools.cached_property
    def flat_references(self) -> tuple[str, ...]:
        """All references, example by example."""
        return tuple(words for of in self.references for words in of)

    @functools.cached_property
    def groups(self) -> Int[np.ndarray, " r"]:
        """The place of the example that each of the flat references belongs to."""
        return np.repeat(np.arange(len(self.ids)), [len(of) for of in self.references])


def pair(
    candidates: Iterable[tuple[Hashable, str]],
    references: Iterable[tuple[Hashable, Sequence[str]]],
    *,
    wordless_candidates: bool = False,
) -> CaptionPairs:
    """Candidates (id, caption) beside references (id, captions), in the order of the references.

    wordless_candidates: a candidate without a word is scored, at 0, as what a network that writes
    nothing deserves; else it is taken for a fault of the file. Raises EvaluationError on ids that
    come twice or on one side alone, and on captions that are missing or hold no word.
    """
    of_candidates, of_references = list(candidates), list(references)
    _once([key for key, _ in of_references], "references", "join the captions of an id in one list")
    _once([key for key, _ in of_candidates], "candidates", "keep the best one of each id")
    if not of_candidates:
        raise EvaluationError(
            f"no candidate for {len(of_references)} examples; expected one caption for each: look "
            "into the file of predictions."
        )
    texts = dict(of_candidates)
    known = {key for key, _ in of_references}
    _none(
        [key for key, _ in of_references if key not in texts],
        "ids of references have no candidate",
        "predict a caption for each, or leave their references out",
    )
    _none(
        [key for key in texts if key not in known],
        "ids of candidates have no references",
        "check that both are of the same split",
    )
    made = CaptionPairs(
        tuple(key for key, _ in of_references),
        tuple(caption_tokens.tokenize(texts[key]) for key, _ in of_references),
        tuple(tuple(map(caption_tokens.tokenize, captions)) for _, captions in of_references),
    )
    _none(
        [key for key, captions in zip(made.ids, made.references, strict=True) if not captions],
        "ids have an empty list of references",
        "leave them out of both files",
    )
    _none(
        [key for key, captions in zip(made.ids, made.references, strict=True) if "" in captions],
        "ids have a reference without a word",
        "leave such references out",
    )
    if not wordless_candidates:
        _none(
            [key for key, caption in zip(made.ids, made.candidates, strict=True) if not caption],
            "candidates hold no word",
            "predict a caption for each id",
        )
    return made


def _once(keys: Sequence[Hashable], side: str, remedy: str) -> None:
    twice = [key for key, times in collections.Counter(keys).items() if times > 1]
    _none(twice, f"ids come more than once among the {side}", remedy)


def _none(keys: Sequence[Hashable], what: str, remedy: str) -> None:
    if keys:
        shown = ", ".join(map(repr, keys[:_SHOWN])) + (", ..." if len(keys) > _SHOWN else "")
        raise EvaluationError(f"{len(keys)} {what} ({shown}); expected none: {remedy}.")
