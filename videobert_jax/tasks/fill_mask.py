"""Hidden words of real sentences, predicted with the clips, without them, and with others'.

Where the split has labels, the words of an example's verb, then of its object and so on, are
hidden and all surface forms of the declared list are tried. Of an example with several labels of a
kind the words of all of them that its caption names are hidden at once, so that none gives another
away, the forms are tried in the place of the first, and whichever of its labels is told is right.
Else one content word a caption, drawn by seed, is hidden and the frequent content words of the
training captions are tried.
"""

import collections
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from videobert_jax.tasks import (
    cloze,
    labels,
    supervised,
    trained_heads,
    words,
)
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.metrics import classification, ranking
from videobert_jax.tasks.report import TaskResult
from videobert_jax.text import templates

NAME = "fill_mask"
WORD = "word"  # the slot of datasets without labels
MAX_WORDS = 1000  # candidates of that slot
CONDITIONS = ("with_video", "with_other_video", "without_video")


@dataclasses.dataclass(frozen=True)
class Hidden:
    """An example with the words of its labels of a slot hidden.

    label, form: of those at the first place, where candidates are tried. right: bool [k], which
    labels are.
    """

    example: int
    right: np.ndarray
    label: int
    form: str
    blank: templates.Blank


def evaluate(context: EvaluationContext) -> TaskResult:
    """`{slot}_accuracy_with_video`, `_without_video` and `_with_other_video` (a control: the clips
    of another example), and their top-5. Raises EvaluationError where no word can be hidden.
    """
    trained_heads.require(context, trained_heads.WORDS, NAME)
    forms = labels.declared(context.dataset, context.split) or {WORD: _frequent_words(context)}
    hidden, absent, notes = _hide_all(context, forms)
    tokenizer = context.runner.tokenizer
    candidates = {slot: cloze.Candidates.of(forms[slot], tokenizer) for slot in hidden}
    longest = max(h.blank.length(0) for of_slot in hidden.values() for h in of_slot)
    scorer = cloze.ClozeScorer(context, candidates, longest)
    metrics: dict[str, float] = {}
    groups: dict[str, dict[str, float]] = {name: {} for name in ("chance", "language_prior")}
    lines: dict[int, dict[str, Any]] = {}
    for slot, items in hidden.items():
        right = np.stack([item.right for item in items])
        scores = _scores(context, scorer, slot, items)
        ranks = {name: ranking.first_ranks(values, right) for name, values in scores.items()}
        for name, values in ranks.items():
            metrics |= _named(slot, name, classification.from_ranks(values, "x"))
        of_baselines: dict[str, np.ndarray] = {}
        if slot != WORD:
            ids = np.array([item.example for item in items])
            of_baselines, note = supervised.classify(context, slot, ids)
            notes.append(note)
        rows = {"chance": labels.chance(right, "x")}
        for name, values in {"language_prior": ranks["without_video"], **of_baselines}.items():
            rows[name] = classification.from_ranks(values, "x")
        for name, figures in rows.items():
            groups.setdefault(name, {}).update(_named(slot, "with_video", figures))
        _describe(context, lines, slot, items, list(forms[slot]), scores, ranks, of_baselines)
    expected = np.array(sorted(lines))
    return TaskResult(
        task=NAME,
        expected=expected,
        protocol=_protocol(context, hidden),
        averaging=classification.AVERAGING,
        truncation={
            "text_examples_cut": sum(
                scorer.num_cut(slot, [item.blank for item in items])
                for slot, items in hidden.items()
            )
        },
        metrics=metrics,
        baselines=groups,
        examples=[lines[example] for example in expected.tolist()],
        details={
            "candidates": {slot: of.forms for slot, of in candidates.items()},
            "num_hidden": {slot: len(items) for slot, items in hidden.items()},
        },
        notes=notes,
        statistics=_statistics(hidden),
        absent=absent,
    )


def _protocol(context: EvaluationContext, hidden: Mapping[str, list[Hidden]]) -> str:
    several = labels.several([np.stack([item.right for item in of]) for of in hidden.values()])
    how = (
        "all labels of a kind at a time, tried at the first," if several else "one label at a time,"
    )
    return (
        f"words of {', '.join(hidden)} hidden wholly, {how} every occurrence{several}; "
        f"all surface forms tried; {cloze.SCORE}; "
        f"with_other_video: clips of another example, drawn by seed {context.seed}"
    )


def _statistics(slots: Iterable[str]) -> dict[str, Any]:
    """How the figures are read off the lines."""
    return {
        name: of
        for slot in slots
        for condition in CONDITIONS
        for name, of in _named(
            slot, condition, classification.statistics("x", slot, condition, "rank")
        ).items()
    }


def _named(slot: str, condition: str, figures: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"{slot}_accuracy_{condition}": figures["x_top1"],
        f"{slot}_top5_{condition}": figures["x_top5"],
    }


def _hide_all(
    context: EvaluationContext, forms: Mapping[str, labels.Forms]
) -> tuple[dict[str, list[Hidden]], np.ndarray, list[str]]:
    """({slot: examples with clips}, ids of those without, notes of slots that no caption names)."""
    every = {slot: _hide(context, slot, of) for slot, of in forms.items()}
    ids = np.array(sorted({item.example for items in every.values() for item in items}), np.int64)
    present, absent = (of.tolist() for of in context.by_clips(ids))
    shown = set(present)
    hidden = {
        slot: [item for item in items if item.example in shown] for slot, items in every.items()
    }
    if not any(hidden.values()):
        of = ", ".join([name for of_slot in forms.values() for name in of_slot][:5])
        raise EvaluationError(
            f"{context.dataset.path}: no caption of split {context.split.name!r} holds a "
            f"{' or '.join(forms)} of the declared list ({of}, ...); check the dataset's "
            "label_surface_forms."
        )
    notes = [f"no {slot}s: no caption names its own" for slot, items in hidden.items() if not items]
    return {slot: of for slot, of in hidden.items() if of}, np.array(absent, np.int64), notes


def _hide(context: EvaluationContext, slot: str, forms: labels.Forms) -> list[Hidden]:
    """Examples of the split in which a label of `slot` stands, with its words hidden."""
    split, tokenizer = context.split, context.runner.tokenizer
    ids = context.ids[split.caption_hash[context.ids] != 0]
    place = {name: number for number, name in enumerate(forms)}
    known = None if slot == WORD else labels.right(context.dataset, split, slot, ids)
    items = []
    for row, text in enumerate(split.texts(ids.tolist())):
        example, found = int(ids[row]), words.find_forms(text, forms)
        if known is None:
            own = _drawn(found, context.seed, example)
        else:
            own = [entry for entry in found if known[row, place[entry[0]]]]
        if not own:
            continue
        label, form, _ = own[0]  # the first in the text
        right = np.arange(len(forms)) == place[label] if known is None else known[row]
        blank = templates.hide(text, [at for *_, places in own for at in places], tokenizer)
        items.append(Hidden(example, right, place[label], form, blank))
    return items


def _drawn(found: list, seed: int, example: int) -> list:
    """One of the labels that a caption names, where it names any."""
    # keyed by the example, so that no draw depends on which others are evaluated
    return found and [found[np.random.default_rng((seed, example)).integers(len(found))]]


def _frequent_words(context: EvaluationContext) -> dict[str, list[str]]:
    """Content words of the training captions, the most frequent MAX_WORDS, each its own label."""
    split = context.fit_split or context.split
    counts: collections.Counter[str] = collections.Counter()
    for text in split.texts(range(len(split))):
        counts.update(set(words.words_of(text)) - words.STOP_WORDS)
    kept = sorted(counts, key=lambda word: (-counts[word], word))[:MAX_WORDS]
    return {word: [word] for word in kept if counts[word] > 1}


def _scores(
    context: EvaluationContext, scorer: cloze.ClozeScorer, slot: str, items: list[Hidden]
) -> dict[str, Float[np.ndarray, "n k"]]:
    """Condition -> score of every label for every item."""
    rows = context.expect(
        np.unique([item.example for item in items]), f"a caption with a {slot} in it"
    )
    blanks = [item.blank for item in items]
    other = _other_rows(rows, context.seed)
    videos = {"with_video": rows, "with_other_video": other, "without_video": rows}
    return {
        condition: scorer.candidates[slot].of_labels(
            scorer.scores(slot, blanks, videos[condition], with_video=condition != "without_video")
        )
        for condition in CONDITIONS
    }


def _other_rows(rows: np.ndarray, seed: int) -> np.ndarray:
    """Each row's stand-in: the next one in a drawn order, so that none keeps its own."""
    order = np.random.default_rng(seed).permutation(len(rows))
    other = np.empty_like(rows)
    other[order] = rows[np.roll(order, 1)]
    return other


def _describe(context, lines, slot, items, names, scores, ranks, of_baselines) -> None:
    """Adds what was hidden and found to the line of each example."""
    texts = context.split.texts([item.example for item in items])
    for row, item in enumerate(items):
        line = lines.setdefault(
            item.example,
            {
                **context.line(item.example),
                "text": texts[row],
                "baselines": {},
            },
        )
        line[slot] = {
            **labels.line(names, item.label, item.right),
            "hidden": item.form,
            **{
                condition: {
                    "rank": float(ranks[condition][row]),
                    "best": names[int(scores[condition][row].argmax())],
                }
                for condition in CONDITIONS
            },
        }
        for name, values in of_baselines.items():
            line["baselines"].setdefault(name, {})[f"{slot}_rank"] = float(values[row])
