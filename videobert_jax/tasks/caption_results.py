"""Captions of a split's segments, whoever wrote them, measured beside baselines.

Examples of one video with the same times are one segment, with all of their captions as references.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from videobert_jax.tasks import caption_labels, prior_captions
from videobert_jax.tasks.context import EvaluationContext, PredictionContext
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.metrics import caption_meteor, caption_pairs, caption_scores
from videobert_jax.tasks.metrics.caption_meteor import Meteor
from videobert_jax.tasks.metrics.caption_scores import CaptionScores
from videobert_jax.tasks.metrics.caption_tokens import tokenize
from videobert_jax.tasks.metrics.statistic import Statistic
from videobert_jax.tasks.report import TaskResult

NAME = "captioning"
EXACT = "exact"  # of lines, and before the kinds of labels in the figures' names


@dataclasses.dataclass(frozen=True)
class References:
    """What segments are called: ids of the first example of each, all examples of it, and its
    captions that hold a word. num_wordless: segments that have none, which are left out. absent:
    ids of the first examples of those whose clips are needed and not there."""

    ids: Int[np.ndarray, " n"]
    examples: list[list[int]]
    captions: list[list[str]]
    num_wordless: int
    absent: Int[np.ndarray, " a"]

    @classmethod
    def of(
        cls, context: EvaluationContext | PredictionContext, *, needs_clips: bool
    ) -> "References":
        """Those of the examples under evaluation. Raises EvaluationError where there are none."""
        split = context.split
        ids = context.ids[split.caption_hash[context.ids] != 0]
        segments: dict[tuple, list[int]] = {}
        for example in ids.tolist():
            times = float(split.start[example]), float(split.end[example])
            segments.setdefault((int(split.video[example]), *times), []).append(example)
        captions = dict(zip(ids.tolist(), split.texts(ids.tolist()), strict=True))
        found = [
            (examples, [captions[e] for e in examples if tokenize(captions[e])])
            for examples in segments.values()
        ]
        worded = {examples[0]: (examples, of) for examples, of in found if of}
        firsts, absent = np.array(list(worded), np.int64), np.zeros(0, np.int64)
        if needs_clips:
            firsts, absent = context.by_clips(firsts)
        if not len(firsts):
            raise EvaluationError(
                f"split {split.name!r} of {context.dataset.path} has no example with a caption"
                f"{' and clips' if needs_clips else ''}, so nothing to compare captions with; "
                "evaluate another split."
            )
        examples, captions_of = zip(*(worded[first] for first in firsts.tolist()), strict=True)
        return cls(firsts, [*examples], [*captions_of], len(found) - len(worded), absent)

    @property
    def protocol(self) -> str:
        """What a record says of them and of the metrics."""
        most = max(map(len, self.captions))
        return f"up to {most} reference{'s' * (most > 1)} a segment; {caption_scores.PROTOCOL}"


@dataclasses.dataclass(frozen=True)
class _Measured:
    """Captions of all segments, their figures, and what each is exact in."""

    captions: Sequence[str]
    candidates: Sequence[str]  # the captions in words as they are scored
    scores: CaptionScores
    meteor: Meteor
    exact: list[caption_labels.Exact]

    def summary(self) -> dict[str, float]:
        found: dict[str, list[bool]] = {}
        for of in self.exact:
            for kind, value in of.items():
                found.setdefault(kind, []).append(value)
        accuracies = {f"{EXACT}_{kind}": float(np.mean(of)) for kind, of in found.items()}
        return {**self.scores.summary(), **self.meteor.summary(), **accuracies}

    def statistics(self) -> dict[str, Statistic]:
        """How the figures are read off the lines."""
        kinds = dict.fromkeys(kind for of in self.exact for kind in of)
        return {
            **caption_scores.statistics(),
            **self.meteor.statistics(),
            **{f"{EXACT}_{kind}": Statistic.mean(EXACT, kind) for kind in kinds},
        }

    def line(self, row: int) -> dict[str, Any]:
        figures = self.scores.line(row) | self.meteor.line(row)
        exact = {kind: float(of) for kind, of in self.exact[row].items()}
        return {"caption": self.captions[row], **figures, **({EXACT: exact} if exact else {})}


def result(
    context: EvaluationContext | PredictionContext,
    references: References,
    written: Sequence[str],
    *,
    truncation: Mapping[str, int],
    details: Mapping[str, Any],
    wordless: bool,
) -> TaskResult:
    """Figures of the captions `written` of the references' segments, beside those of baselines.

    wordless: a caption may hold no word, as a network's; it has 0. Raises EvaluationError as
    `caption_pairs.pair` does.
    """
    ids = references.ids
    priors, notes = prior_captions.of(context, ids, written)
    own, *measured = _measure(context, references, [written, *priors.values()], wordless=wordless)
    others = dict(zip(priors, measured, strict=True))
    if references.num_wordless:
        left_out = f"{references.num_wordless} examples whose captions hold no word were left out"
        notes = [*notes, left_out]
    return TaskResult(
        task=NAME,
        expected=ids,
        protocol=f"a caption a segment; {references.protocol}",
        averaging=caption_scores.AVERAGING,
        truncation=dict(truncation),
        metrics=own.summary(),
        baselines={name: of.summary() for name, of in others.items()},
        examples=[
            {
                **context.line(example),
                "references": list(references.captions[row]),
                **own.line(row),
                "baselines": {name: of.line(row) for name, of in others.items()},
            }
            for row, example in enumerate(ids.tolist())
        ],
        details={
            **details,
            "meteor": {"value": own.meteor.value, "reason": own.meteor.reason},
            "num_references": sum(map(len, references.captions)),
            "num_distinct_captions": len(set(written)),
            "num_wordless_captions": own.candidates.count(""),
        },
        notes=notes,
        statistics=own.statistics(),
        absent=references.absent,
    )


def _measure(
    context: EvaluationContext | PredictionContext,
    references: References,
    every: Sequence[Sequence[str]],
    *,
    wordless: bool,
) -> list[_Measured]:
    """Captions of several systems, the first of which may be one that has to write words."""
    ids = references.ids
    pairs = [
        caption_pairs.pair(
            zip(ids.tolist(), captions, strict=True),
            zip(ids.tolist(), references.captions, strict=True),
            wordless_candidates=wordless or number > 0,
        )
        for number, captions in enumerate(every)
    ]
    return [
        _Measured(
            captions,
            of.candidates,
            caption_scores.score(of),
            meteor,
            caption_labels.exact(context.dataset, context.split, ids, captions),
        )
        for captions, of, meteor in zip(every, pairs, caption_meteor.score(pairs), strict=True)
    ]
