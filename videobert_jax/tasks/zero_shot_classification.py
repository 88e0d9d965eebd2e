"""Zero-shot classification of labels: by cloze, in the joint space, by words, or by several.

By cloze (Sun et al. 2019, section 4.3) the network sees the clips and a template such as "now let
me show you how to [MASK] the [MASK]", and ranks a declared list of verbs, then of objects; no label
was used in training. While verbs are ranked the object is one [MASK], and the other way round. In
the joint space (`prompts`) the towers compare the clips with whole sentences, which means nothing
unless the contrastive loss trained them. By words (`word_presence`) the head of the bag-of-words
objective says which words the clips' caption has. Several: the product of their probabilities,
"both" by cloze and in the joint space, "towers" in the joint space and by words, "all" by all.
Further kinds of labels need templates of their own; where there is none, the record has the
baselines alone.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from videobert_jax.tasks import cloze, labels, prompts, supervised, word_presence
from videobert_jax.tasks.context import EvaluatedSplit, EvaluationContext
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.metrics import classification, ranking
from videobert_jax.tasks.report import TaskResult
from videobert_jax.text import templates

NAME = "zero_shot_classification"
CLOZE, JOINT_SPACE, WORDS = "cloze", "joint_space", "words"
_PARTS = {  # scoring -> whose log-probabilities are added
    CLOZE: (CLOZE,),
    JOINT_SPACE: (JOINT_SPACE,),
    WORDS: (WORDS,),
    "both": (CLOZE, JOINT_SPACE),
    "towers": (JOINT_SPACE, WORDS),
    "all": (CLOZE, JOINT_SPACE, WORDS),
}
SCORINGS = tuple(_PARTS)
NO_CALIBRATION, PRIOR = CALIBRATIONS = ("none", "prior")


def evaluate(
    context: EvaluationContext,
    *,
    template_texts: Sequence[str] = (),
    scoring: str = CLOZE,
    calibration: str = NO_CALIBRATION,
) -> TaskResult:
    """Top-1 and top-5 of each kind of label; several templates are averaged in log-probability.

    A slot that no given template has takes the paper's, then the dataset's own that have it.
    calibration "prior" subtracts from each candidate's score by cloze what it has without the
    video, which ranks by how much the video speaks for it. Raises EvaluationError without labels
    or examples.
    """
    chosen = _Variant(scoring, calibration)
    slots = [_slot(context, name) for name in labels.kinds(context.dataset, context.split)]
    if not slots:
        raise EvaluationError(
            f"{context.dataset.path}: split {context.split.name!r} has no labels; this task needs "
            "a dataset with labels."
        )
    texts = templates_of(context, template_texts, [slot.name for slot in slots])
    tokenizer = context.runner.tokenizer
    asked = {slot.name: slot.forms for slot in slots if texts[slot.name]}
    candidates = {slot: cloze.Candidates.of(of, tokenizer) for slot, of in asked.items()}
    blanks = {
        slot: [templates.blank(text, slot, tokenizer) for text in texts[slot]] for slot in asked
    }
    answers = _answers(context, candidates, blanks, texts, slots)
    known = _known_variants(context, chosen)
    baselines, notes = _baseline_ranks(context, slots, answers)
    ranks = {of.name: _ranks(slots, answers, of) for of in known}
    variants = {name: _figures(of) for name, of in ranks.items()}
    expected = np.unique(np.concatenate([slot.ids for slot in slots]))
    return TaskResult(
        task=NAME,
        expected=expected,
        protocol=_protocol(slots, chosen),
        averaging=classification.AVERAGING,
        truncation={"templates_cut": sum(answer.num_cut for answer in answers.values())},
        metrics=variants[chosen.name],
        baselines={
            "chance": _chance(slots),
            **{name: _figures(of) for name, of in baselines.items()},
        },
        examples=_examples(context, expected, slots, answers, chosen, ranks, baselines),
        setting_if_seen="zero_shot",  # the videos are new and labels were never seen
        templates=list(dict.fromkeys(text for of_slot in texts.values() for text in of_slot)),
        details={
            "scoring": scoring,
            "calibration": calibration,
            "variants": variants,
            "candidates": {slot: of.forms for slot, of in candidates.items()},
            "label_digests": {slot.name: labels.digest(slot.forms) for slot in slots},
            "templates_of": texts,
        },
        notes=notes,
        statistics=_statistics(ranks[chosen.name]),
    )


@dataclasses.dataclass(frozen=True)
class _Variant:
    """A way to score. Raises EvaluationError where there is no such way."""

    scoring: str
    calibration: str

    def __post_init__(self) -> None:
        for name, value, known in (
            ("scoring", self.scoring, SCORINGS),
            ("calibration", self.calibration, CALIBRATIONS),
        ):
            if value not in known:
                raise EvaluationError(f"{name} {value!r} is none of {', '.join(known)}.")
        if CLOZE not in _PARTS[self.scoring] and self.calibration == PRIOR:
            raise EvaluationError(
                f"calibration 'prior' is of scores by cloze, and {self.scoring!r} has no prior; "
                "take scoring 'cloze', 'both' or 'all', or no calibration."
            )

    @property
    def by_words(self) -> bool:
        return WORDS in _PARTS[self.scoring]

    @property
    def name(self) -> str:
        return self.scoring + ("_less_prior" if self.calibration == PRIOR else "")


VARIANTS = tuple(
    _Variant(scoring, calibration)
    for scoring in SCORINGS
    for calibration in CALIBRATIONS
    if CLOZE in _PARTS[scoring] or calibration == NO_CALIBRATION
)


def _known_variants(context: EvaluationContext, chosen: _Variant) -> list[_Variant]:
    """The ways to score that the network knows. Raises EvaluationError where `chosen` is none."""
    if context.encodings.piece_presence is not None:
        return list(VARIANTS)
    if chosen.by_words:
        raise EvaluationError(
            f"scoring {chosen.scoring!r} needs a network with the bag-of-words head, and "
            f"{context.bundle.name} has none; train with objectives.bag_of_words, or take another "
            "scoring."
        )
    return [of for of in VARIANTS if not of.by_words]


@dataclasses.dataclass(frozen=True)
class _Slot:
    """One kind of label, and the examples that have it: ids and first labels int64 [n], all that
    are `right`, [n, k]."""

    name: str
    forms: labels.Forms
    ids: np.ndarray
    labels: np.ndarray
    right: np.ndarray
    rows: np.ndarray  # of the encodings


@dataclasses.dataclass(frozen=True)
class _Answer:
    """Scores of the labels of a slot: by cloze, [n, k] with the video and [1, k] without it, in
    the joint space [n, k], and by words [n, k], None where the network does not tell them."""

    cloze: np.ndarray
    prior: np.ndarray
    joint_space: np.ndarray
    words: np.ndarray | None
    num_cut: int

    def by(self, of: _Variant) -> Float[np.ndarray, "n k"]:
        by_cloze = self.cloze - self.prior if of.calibration == PRIOR else self.cloze
        parts = {CLOZE: by_cloze, JOINT_SPACE: self.joint_space, WORDS: self.words}
        chosen = [parts[part] for part in _PARTS[of.scoring]]
        return np.sum([prompts.log_softmax(part) for part in chosen], axis=0)


def _protocol(slots: Sequence[_Slot], chosen: _Variant) -> str:
    lists = ", ".join(f"{len(slot.forms)} {slot.name}s" for slot in slots)
    return (
        f"declared lists ({lists}){labels.several([slot.right for slot in slots])}; "
        f"by cloze: {cloze.SCORE}; other slots are one [MASK] each; in the joint space: "
        f"{prompts.SCORE}; by words: {word_presence.SCORE}; templates are averaged in "
        f"log-probability; scoring={chosen.scoring}, calibration={chosen.calibration}"
    )


def _slot(context: EvaluationContext, name: str) -> _Slot:
    forms = labels.forms(context.dataset, name)
    known = labels.ids_of(context.split, name, forms)[context.ids]
    ids = context.ids[(known >= 0) & (context.split.clip_count[context.ids] > 0)]
    rows = context.expect(ids, f"clips and a label of kind {name!r}")
    right = labels.right(context.dataset, context.split, name, ids)
    return _Slot(name, forms, ids, known[ids], right, rows)


def templates_of(
    context: EvaluatedSplit, given: Sequence[str], slots: Sequence[str]
) -> dict[str, list[str]]:
    """Slot -> its templates: those given, else the paper's, else the dataset's; perhaps none."""
    declared = context.dataset.metadata.get("templates", [])
    groups = [
        [templates.parse(text, slots) for text in group]
        for group in (given, [templates.PAPER_TEMPLATE], declared)
    ]
    of_slots = {
        slot: [[text for text in group if slot in templates.slots(text)] for group in groups]
        for slot in slots
    }
    return {slot: next(filter(None, of_groups), []) for slot, of_groups in of_slots.items()}


def _answers(
    context: EvaluationContext,
    candidates: Mapping[str, cloze.Candidates],
    blanks: Mapping[str, list[templates.Blank]],
    texts: Mapping[str, list[str]],
    slots: Sequence[_Slot],
) -> dict[str, _Answer]:
    """What the network says of each slot that has a template, by the mean over its templates."""
    if not blanks:
        return {}
    longest = max(blank.length(0) for of_slot in blanks.values() for blank in of_slot)
    scorer = cloze.ClozeScorer(context, candidates, longest)

    def ensemble(slot: str, rows: Int[np.ndarray, " n"], with_video: bool) -> np.ndarray:
        each = [
            candidates[slot].of_labels(
                scorer.scores(slot, [blank] * len(rows), rows, with_video=with_video)
            )
            for blank in blanks[slot]
        ]
        return np.mean(each, axis=0)

    forms = {slot.name: slot.forms for slot in slots}
    return {
        slot.name: _Answer(
            cloze=ensemble(slot.name, slot.rows, True),
            prior=ensemble(slot.name, slot.rows[:1], False),
            joint_space=prompts.scores(context, slot.name, texts[slot.name], forms, slot.rows),
            words=word_presence.scores(context, candidates[slot.name], slot.rows),
            num_cut=scorer.num_cut(slot.name, blanks[slot.name]),
        )
        for slot in slots
        if slot.name in blanks
    }


def _ranks(
    slots: Sequence[_Slot], answers: Mapping[str, _Answer], variant: _Variant
) -> dict[str, np.ndarray]:
    """Slot -> rank of each of its examples' label."""
    return {
        slot.name: ranking.first_ranks(answers[slot.name].by(variant), slot.right)
        for slot in slots
        if slot.name in answers
    }


def _statistics(slots: Iterable[str]) -> dict[str, Any]:
    """How the figures are read off the lines."""
    return {
        name: of
        for slot in slots
        for name, of in classification.statistics(slot, slot, "rank").items()
    }


def _chance(slots: Sequence[_Slot]) -> dict[str, float]:
    return {
        name: value
        for slot in slots
        for name, value in labels.chance(slot.right, slot.name).items()
    }


def _figures(ranks: Mapping[str, np.ndarray]) -> dict[str, float]:
    return {
        name: value
        for slot, values in ranks.items()
        for name, value in classification.from_ranks(values, slot).items()
    }


def _baseline_ranks(
    context: EvaluationContext, slots: Sequence[_Slot], answers: Mapping[str, _Answer]
) -> tuple[dict[str, dict[str, np.ndarray]], list[str]]:
    """({baseline: {slot: ranks}}, notes)."""
    found: dict[str, dict[str, np.ndarray]] = {}
    notes: list[str] = []
    for slot in slots:
        of_slot, note = supervised.classify(context, slot.name, slot.ids)
        notes.append(note)
        if slot.name in answers:
            prior = np.repeat(answers[slot.name].prior, len(slot.ids), axis=0)
            of_slot["language_prior"] = ranking.first_ranks(prior, slot.right)
        else:
            notes.append(f"{slot.name}s: baselines alone, no template has a {{{slot.name}}}")
        for name, values in of_slot.items():
            found.setdefault(name, {})[slot.name] = values
    return found, notes


def _examples(
    context: EvaluationContext,
    expected: Int[np.ndarray, " n"],
    slots: Sequence[_Slot],
    answers: Mapping[str, _Answer],
    chosen: _Variant,
    ranks: Mapping[str, Mapping[str, np.ndarray]],
    baselines: Mapping[str, Mapping[str, np.ndarray]],
) -> list[dict[str, object]]:
    """A line an example; a label is right at rank 1, here, by each variant and each baseline."""
    lines: dict[int, dict[str, Any]] = {
        example: {
            **context.line(example),
            "baselines": {name: {} for name in baselines},
        }
        for example in expected.tolist()
    }
    for slot in slots:
        names = list(slot.forms)
        shown = answers.get(slot.name)
        best = shown and ranking.shortlist(shown.by(chosen), max(classification.TOP))
        for row, example in enumerate(slot.ids.tolist()):
            line = lines[example]
            line[slot.name] = labels.line(names, int(slot.labels[row]), slot.right[row])
            if best is not None:
                by = {name: float(of[slot.name][row]) for name, of in ranks.items()}
                line[slot.name] |= {"rank": by[chosen.name], "rank_by": by}
                line[slot.name]["best"] = [names[label] for label in best[row].tolist()]
            for name, of in baselines.items():
                if slot.name in of:
                    line["baselines"][name][f"{slot.name}_rank"] = float(of[slot.name][row])
    return list(lines.values())
