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

from videobert_jax.tasks import (
    cloze,
    label_scorings,
    labels,
    other_videos,
    prompts,
    report,
    supervised,
    word_presence,
)
from videobert_jax.tasks.context import EvaluatedSplit, EvaluationContext
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.label_scorings import (
    CLOZE,
    JOINT_SPACE,
    NO_CALIBRATION,
    PARTS,
    PRIOR,
    WORDS,
    Variant,
)
from videobert_jax.tasks.metrics import classification, ranking
from videobert_jax.tasks.report import TaskResult
from videobert_jax.text import templates

NAME = "zero_shot_classification"


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
    chosen = Variant(scoring, calibration)
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
    known = label_scorings.known_variants(context, chosen)
    answers = _answers(context, candidates, blanks, texts, slots)
    baselines, notes = _baseline_ranks(context, slots, answers, chosen)
    ranks = {of.name: _ranks(slots, answers, of) for of in known}
    variants = {name: _figures(of) for name, of in ranks.items()}
    expected = np.unique(np.concatenate([slot.ids for slot in slots]))
    return TaskResult(
        task=NAME,
        expected=expected,
        protocol=_protocol(slots),
        averaging=classification.AVERAGING,
        truncation={"templates_cut": sum(answer.num_cut for answer in answers.values())},
        metrics=variants[chosen.name],
        baselines={"chance": _chance(slots)}
        | {name: _figures(of) for name, of in baselines.items()},
        examples=_examples(context, expected, slots, answers, chosen, ranks, baselines),
        setting_if_seen="zero_shot",  # the videos are new and labels were never seen
        templates=list(dict.fromkeys(text for of_slot in texts.values() for text in of_slot)),
        details={
            report.ANSWERED_BY: _how(chosen),
            "scoring": scoring,
            "calibration": calibration,
            "variants": variants,
            "candidates": {slot: of.forms for slot, of in candidates.items()},
            "label_digests": {slot.name: labels.digest(slot.forms) for slot in slots},
            "templates_of": texts,
        },
        notes=notes,
        statistics=_statistics(ranks[chosen.name]),
        absent=np.unique(np.concatenate([slot.absent for slot in slots])),
    )


@dataclasses.dataclass(frozen=True)
class _Slot:
    """One kind of label, and the examples that have it and clips: ids and first labels int64 [n],
    all that are `right`, [n, k]; absent: ids of those without clips."""

    name: str
    forms: labels.Forms
    ids: np.ndarray
    labels: np.ndarray
    right: np.ndarray
    rows: np.ndarray  # of the encodings
    absent: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Answer:
    """Scores of the labels of a slot, {part: [n, k]}, and {part: [1, k]} where the video is
    withheld: by cloze nothing is seen, and in the joint space and by words the mean of all videos.
    A part that the network does not tell is not there."""

    seen: dict[str, np.ndarray]
    withheld: dict[str, np.ndarray]
    num_cut: int

    def by(self, of: Variant) -> Float[np.ndarray, "n k"]:
        parts = dict(self.seen)
        if of.calibration == PRIOR:
            parts[CLOZE] = parts[CLOZE] - self.withheld[CLOZE]
        return _product(parts, of.scoring)

    def prior(self, of: Variant) -> Float[np.ndarray, "1 k"]:
        """What is told of no video: calibrated, nothing would be left."""
        return _product(self.withheld, of.scoring)


def _product(parts: Mapping[str, np.ndarray], scoring: str) -> Float[np.ndarray, "n k"]:
    weights = PARTS[scoring]
    return np.sum([weights[part] * prompts.log_softmax(parts[part]) for part in weights], axis=0)


def _protocol(slots: Sequence[_Slot]) -> str:
    lists = ", ".join(f"{len(slot.forms)} {slot.name}s" for slot in slots)
    several = labels.several([slot.right for slot in slots])
    return (
        f"declared lists ({lists}){several}, each ranked whole for every example with a label of it"
    )


def _how(chosen: Variant) -> str:
    said = {
        CLOZE: f"by cloze: {cloze.SCORE}; other slots are one [MASK] each",
        JOINT_SPACE: f"in the joint space: {prompts.SCORE}",
        WORDS: f"by words: {word_presence.SCORE}",
    }
    parts = "; ".join(
        said[part] if weight == 1.0 else f"{weight:g} times {said[part]}"
        for part, weight in PARTS[chosen.scoring].items()
    )
    return f"{parts}; templates averaged in log-probability; calibration={chosen.calibration}"


def _slot(context: EvaluationContext, name: str) -> _Slot:
    forms = labels.forms(context.dataset, name)
    known = labels.ids_of(context.split, name, forms)[context.ids]
    ids, absent = context.by_clips(context.ids[known >= 0])
    rows = context.expect(ids, f"clips and a label of kind {name!r}")
    right = labels.right(context.dataset, context.split, name, ids)
    return _Slot(name, forms, ids, known[ids], right, rows, absent)


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
    embedded, presence = context.encodings.video_embeddings, context.encodings.piece_presence

    def of(slot: _Slot) -> _Answer:
        name, rows = slot.name, slot.rows
        in_joint_space = prompts.scores(
            context, name, texts[name], forms, _with_mean(embedded, rows)
        )
        both = {JOINT_SPACE: in_joint_space}
        if presence is not None:
            both[WORDS] = word_presence.scores(candidates[name], _with_mean(presence, rows))
        return _Answer(
            {CLOZE: ensemble(name, rows, True), **{key: of[:-1] for key, of in both.items()}},
            {CLOZE: ensemble(name, rows[:1], False), **{key: of[-1:] for key, of in both.items()}},
            num_cut=scorer.num_cut(name, blanks[name]),
        )

    return {slot.name: of(slot) for slot in slots if slot.name in blanks}


def _with_mean(
    of_examples: Float[np.ndarray, "e d"], rows: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "m d"]:
    """Those at `rows`, float32, and their mean behind them."""
    chosen = of_examples[rows].astype(np.float32)
    return np.concatenate([chosen, chosen.mean(axis=0, keepdims=True)])


def _ranks(
    slots: Sequence[_Slot], answers: Mapping[str, _Answer], variant: Variant
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
    context: EvaluationContext,
    slots: Sequence[_Slot],
    answers: Mapping[str, _Answer],
    chosen: Variant,
) -> tuple[dict[str, dict[str, np.ndarray]], list[str]]:
    """({baseline: {slot: ranks}}, notes)."""
    found: dict[str, dict[str, np.ndarray]] = {}
    notes: list[str] = []
    for slot in slots:
        of_slot, note = supervised.classify(context, slot.name, slot.ids)
        notes.append(note)
        if slot.name in answers:
            found_without, why = _without_their_video(context, slot, answers[slot.name], chosen)
            of_slot |= found_without
            notes += why
        else:
            notes.append(f"{slot.name}s: baselines alone, no template has a {{{slot.name}}}")
        for name, values in of_slot.items():
            found.setdefault(name, {})[slot.name] = values
    return found, notes


def _without_their_video(
    context: EvaluationContext, slot: _Slot, answer: _Answer, chosen: Variant
) -> tuple[dict[str, np.ndarray], list[str]]:
    """({baseline: ranks}, notes): the network where the video is withheld, and by another one."""
    prior = np.repeat(answer.prior(chosen), len(slot.ids), axis=0)
    found = {"language_prior": ranking.first_ranks(prior, slot.right)}
    videos = np.asarray(context.split.video[slot.ids])
    others = other_videos.of_same_kind(videos, [slot.name] * len(videos), seed=context.seed)
    if others is None:
        return found, [f"no shuffled_video of {slot.name}s: too many examples are of one video"]
    # templates are the same for all, so what is told of another video stands in its row
    found["shuffled_video"] = ranking.first_ranks(answer.by(chosen)[others], slot.right)
    return found, []


def _examples(
    context: EvaluationContext,
    expected: Int[np.ndarray, " n"],
    slots: Sequence[_Slot],
    answers: Mapping[str, _Answer],
    chosen: Variant,
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
