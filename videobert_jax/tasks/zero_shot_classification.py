"""Zero-shot classification of verbs and objects by cloze (Sun et al. 2019, section 4.3).

The network sees the clips and a template such as "now let me show you how to [MASK] the [MASK]",
and ranks a declared list of verbs, then of objects; no label was used in training. While verbs
are ranked the object is one [MASK], and the other way round.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from videobert_jax.tasks import cloze, labels, supervised, templates
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.metrics import classification, ranking
from videobert_jax.tasks.report import TaskResult

NAME = "zero_shot_classification"
CALIBRATIONS = ("none", "prior")


def evaluate(
    context: EvaluationContext, *, template_texts: Sequence[str] = (), calibration: str = "none"
) -> TaskResult:
    """Top-1 and top-5 of verbs and objects; several templates are averaged in log-probability.

    calibration "prior" subtracts from each candidate's score what it has without the video, which
    ranks by how much the video speaks for it. Raises EvaluationError without labels or examples.
    """
    if calibration not in CALIBRATIONS:
        raise EvaluationError(f"calibration {calibration!r} is none of {', '.join(CALIBRATIONS)}.")
    texts = [templates.parse(text) for text in template_texts or (templates.PAPER_TEMPLATE,)]
    forms = labels.declared(context.dataset, context.split)
    if not forms:
        raise EvaluationError(
            f"{context.dataset.path}: split {context.split.name!r} has no labels of "
            f"{' or '.join(templates.SLOTS)}; this task needs a dataset with labels."
        )
    tokenizer = context.runner.tokenizer
    # a template asks for the base form, which a label's list begins with
    first = {slot: {name: of[name][:1] for name in of} for slot, of in forms.items()}
    candidates = {slot: cloze.Candidates.of(of, tokenizer) for slot, of in first.items()}
    blanks = {slot: [templates.blank(t, slot, tokenizer) for t in texts] for slot in forms}
    longest = max(blank.length(0) for of_slot in blanks.values() for blank in of_slot)
    scorer = cloze.ClozeScorer(context, candidates, longest)
    slots = [_score(context, scorer, slot, blanks[slot], forms[slot]) for slot in forms]
    notes: list[str] = []
    groups = _baselines(context, slots, forms, notes)
    variants = {name: _figures(slots, name) for name in CALIBRATIONS}
    expected = np.unique(np.concatenate([slot.ids for slot in slots]))
    return TaskResult(
        task=NAME,
        expected=expected,
        protocol=(
            f"cloze over declared lists ({', '.join(f'{len(s.names)} {s.name}s' for s in slots)}); "
            f"{cloze.SCORE}; the other slot is one [MASK]; templates are averaged in "
            f"log-probability; calibration={calibration}"
        ),
        averaging=classification.AVERAGING,
        truncation={
            "templates_cut": sum(scorer.num_cut(slot.name, blanks[slot.name]) for slot in slots)
        },
        metrics=variants[calibration],
        baselines=groups,
        examples=_examples(context, expected, slots, calibration),
        setting_if_seen="zero_shot",  # the videos are new and labels were never seen
        templates=texts,
        details={
            "calibration": calibration,
            "calibrations": variants,
            "candidates": {slot.name: candidates[slot.name].forms for slot in slots},
        },
        notes=notes,
    )


@dataclasses.dataclass(frozen=True)
class _Slot:
    """Scores of one kind of label: [n, k] with the video and [1, k] without it."""

    name: str
    names: list[str]
    ids: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    prior: np.ndarray

    def calibrated(self, calibration: str) -> Float[np.ndarray, "n k"]:
        return self.scores - self.prior if calibration == "prior" else self.scores


def _score(
    context: EvaluationContext,
    scorer: cloze.ClozeScorer,
    name: str,
    blanks: list[templates.Blank],
    forms: labels.Forms,
) -> _Slot:
    known = labels.ids_of(context.split, name, forms)[context.ids]
    ids = context.ids[(known >= 0) & (context.split.clip_count[context.ids] > 0)]
    rows = context.expect(ids, f"clips and a label of kind {name!r}")

    def ensemble(rows: np.ndarray, with_video: bool) -> np.ndarray:
        each = [
            scorer.scores(name, [blank] * len(rows), rows, with_video=with_video)
            for blank in blanks
        ]
        return np.mean(each, axis=0)

    return _Slot(
        name=name,
        ids=ids,
        names=list(forms),
        labels=known[ids],
        scores=ensemble(rows, True),
        prior=ensemble(rows[:1], False),
    )


def _figures(slots: list[_Slot], calibration: str) -> dict[str, float]:
    figures: dict[str, float] = {}
    for slot in slots:
        figures |= classification.summary(slot.calibrated(calibration), slot.labels, slot.name)
    return figures


def _baselines(
    context: EvaluationContext,
    slots: list[_Slot],
    forms: dict[str, labels.Forms],
    notes: list[str],
) -> dict[str, dict[str, float]]:
    groups: dict[str, dict[str, float]] = {"chance": {}, "language_prior": {}}
    for slot in slots:
        groups["chance"] |= classification.chance(len(slot.names), slot.name)
        constant = np.broadcast_to(slot.prior, slot.scores.shape)
        groups["language_prior"] |= classification.summary(constant, slot.labels, slot.name)
        rows = supervised.classify(context, slot.name, slot.ids, forms[slot.name], notes)
        for name, figures in rows.items():
            groups.setdefault(name, {}).update(figures)
    return groups


def _examples(
    context: EvaluationContext, expected: np.ndarray, slots: list[_Slot], calibration: str
) -> list[dict[str, object]]:
    split = context.split
    lines: dict[int, dict[str, object]] = {
        example: {
            "example_id": example,
            "video": split.videos[int(split.video[example])],
            "start": float(split.start[example]),
            "end": float(split.end[example]),
        }
        for example in expected.tolist()
    }
    for slot in slots:
        scores = slot.calibrated(calibration)
        ranks = ranking.ranks(scores, slot.labels)
        best = ranking.shortlist(scores, max(classification.TOP))
        for row, example in enumerate(slot.ids.tolist()):
            lines[example][slot.name] = {
                "label": slot.names[int(slot.labels[row])],
                "rank": float(ranks[row]),
                "best": [slot.names[label] for label in best[row].tolist()],
            }
    return list(lines.values())
