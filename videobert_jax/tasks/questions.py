"""Questions that the examples of a split are: an example a question, over the clips it is about."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from videobert_jax.data.index import Dataset, DatasetError, Split, caption_hash
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.tasks.errors import EvaluationError, UnfitSplit
from videobert_jax.tasks.metrics.statistic import Statistic

OPEN_ENDED, MULTIPLE_CHOICE = "question_answering", "multiple_choice"  # the tasks
OPEN = "open"  # the kind of questions that nobody sorted
_FIELDS = frozenset({"kind", "start", "question", "answer"})


@dataclasses.dataclass(frozen=True)
class Question:
    """What is asked about an example.

    kind: the dataset's, else the first word of the question (what, who, how, when, where: how
    MSRVTT-QA's figures are broken down). candidates: () of an open question; `correct` is the place
    of the right one.
    """

    kind: str
    text: str
    answer: str
    candidates: tuple[str, ...]
    correct: int


def of_split(dataset: Dataset, split: Split) -> list[Question]:
    """The question that each example of the split is, in their order.

    Raises UnfitSplit where its examples are no questions, EvaluationError where they are others
    than those that are told.
    """
    where = f"{dataset.path}: split {split.name!r}"
    remedy = "evaluate a split of questions, such as those of the datasets msrvtt_qa or kitchen_qa"
    try:
        entries = dataset.annotations(split.name)
    except DatasetError as error:
        raise UnfitSplit(f"{where} has no questions ({error}); {remedy}.") from error
    asked = [entry.get("questions", []) for entry in entries]
    videos, starts = split.video[:].tolist(), split.start[:].tolist()
    if [len(of) for of in asked] != np.bincount(videos, minlength=len(split.videos)).tolist():
        raise UnfitSplit(
            f"{where} has {len(split)} examples and {sum(map(len, asked))} questions about its "
            f"videos, so its examples are something else; {remedy}."
        )
    found, place = [], [0] * len(asked)
    for example, video in enumerate(videos):
        row = asked[video][place[video]]
        place[video] += 1
        if missing := sorted(_FIELDS - row.keys()):
            raise EvaluationError(
                f"{where}: the question of example {example} has no {', '.join(missing)}; prepare "
                "the dataset anew."
            )
        # where nothing is asked, the caption is the right candidate
        if caption_hash(row["question"] or row["answer"]) != split.caption_hash[example]:
            raise EvaluationError(
                f"{where}: example {example} is {split.texts([example])[0]!r}, its question "
                f"{row['question']!r}; prepare the dataset anew."
            )
        if abs(row["start"] - starts[example]) > 1e-2:
            raise EvaluationError(
                f"{where}: example {example} begins at {starts[example]:.2f} s, its question "
                f"{row['question']!r} at {row['start']} s; prepare the dataset anew."
            )
        found.append(_question(row))
    return found


def _question(row: dict) -> Question:
    words = row["question"].lower().split()
    kind = row["kind"] if row["kind"] != OPEN or not words else words[0]
    candidates = tuple(row.get("candidates", ()))
    return Question(kind, row["question"], row["answer"], candidates, row.get("correct", -1))


def unfit(
    dataset: Dataset, split: Split, bundle: ModelBundle | None, tasks: Iterable[str]
) -> dict[str, str]:
    """Task -> why it is not asked of the split, of those of `tasks` that are not: questions where
    it has none or the network no head, and all else where its examples are questions."""
    try:
        asked = of_split(dataset, split)
    except UnfitSplit:
        reason = f"split {split.name!r} has no questions"
        return {OPEN_ENDED: reason, MULTIPLE_CHOICE: reason}
    others = set(tasks) - {OPEN_ENDED, MULTIPLE_CHOICE}
    left_out = dict.fromkeys(sorted(others), f"the examples of split {split.name!r} are questions")
    if bundle is None or not bundle.answers:
        left_out[OPEN_ENDED] = "the network has no answer head"
    if not any(question.candidates for question in asked):
        left_out[MULTIPLE_CHOICE] = f"the questions of split {split.name!r} have no candidates"
    return left_out


def places_of_kinds(kinds: Sequence[str]) -> dict[str, Int[np.ndarray, " m"]]:
    """Kind -> places of its questions; none where all are of one kind."""
    distinct = dict.fromkeys(kinds)
    if len(distinct) < 2:
        return {}
    return {kind: np.flatnonzero(np.asarray(kinds) == kind) for kind in distinct}


def figures(
    shares: Float[np.ndarray, " n"], kinds: Mapping[str, Int[np.ndarray, " m"]]
) -> dict[str, float]:
    """Accuracy over all questions and over those of each kind, of how much each counts as right."""
    of_kinds = {f"accuracy_{kind}": float(shares[places].mean()) for kind, places in kinds.items()}
    return {"accuracy": float(shares.mean()), **of_kinds}


def statistics(kinds: Iterable[str]) -> dict[str, Statistic]:
    """How `figures` are read off lines with "right" and {"of_kind": {kind: the same}}."""
    of_kinds = {f"accuracy_{kind}": Statistic.mean("of_kind", kind) for kind in kinds}
    return {"accuracy": Statistic.mean("right"), **of_kinds}
