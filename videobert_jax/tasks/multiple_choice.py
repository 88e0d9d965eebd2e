"""Questions with candidates, answered by what fits the clips best.

A candidate is read behind its question ("what do we slice carrot"), or alone where nothing is asked
(MSR-VTT multiple choice: Yu et al. 2018, JSFusion, section 4). Scored by the towers (cosine in the
joint space), by the matching head over the cross-modal encoder, or by both: the product of their
probabilities among the candidates. Nothing need have been trained for it.
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from videobert_jax.tasks import (
    baselines,
    other_videos,
    prompts,
    questions,
    report,
    trained_heads,
    truncation,
)
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.errors import EvaluationError, UnfitSplit
from videobert_jax.tasks.metrics import classification
from videobert_jax.tasks.questions import Question
from videobert_jax.tasks.report import TaskResult

NAME = questions.MULTIPLE_CHOICE
TOWERS, MATCHING, BOTH = CHOOSERS = ("towers", "matching", "both")
_TOLD_BY = {
    TOWERS: (trained_heads.JOINT,),
    MATCHING: (trained_heads.MATCHING,),
    BOTH: (trained_heads.JOINT, trained_heads.MATCHING),
}
_ABSENT = -np.inf  # score of a candidate that a question does not have


@dataclasses.dataclass(frozen=True)
class _Asked:
    """Questions with candidates: their examples, rows of the encodings, and for each candidate the
    text among `texts`, [n, k], -1 where a question has fewer. absent: those about no clips."""

    ids: np.ndarray
    absent: np.ndarray
    rows: np.ndarray
    questions: list[Question]
    texts: list[str]
    candidates: np.ndarray

    @property
    def right(self) -> np.ndarray:
        return np.array([of.correct for of in self.questions])

    @property
    def there(self) -> Bool[np.ndarray, "n k"]:
        return self.candidates >= 0

    def scores(self, of_texts: Float[np.ndarray, " m"]) -> Float[np.ndarray, "n k"]:
        """Scores of the candidates that there are, in their order, as a table."""
        out = np.full(self.candidates.shape, _ABSENT)
        out[self.there] = of_texts
        return out


@dataclasses.dataclass(frozen=True)
class _Read:
    """The texts of candidates as the network reads them: piece ids with [CLS] and [SEP], and what
    they are in the joint space, [m, j]."""

    pieces: list[list[int]]
    embeddings: np.ndarray


def evaluate(context: EvaluationContext, *, choose_by: str | None) -> TaskResult:
    """Accuracy of the candidate that is chosen by one of CHOOSERS; ties share. None: by all that
    the network was trained to tell by.

    Raises EvaluationError where the split has no questions with candidates, or where candidates of
    a question are the same, as written or as the network reads them; UntrainedHead where nothing
    was trained to choose by, or not what is said.
    """
    known = _known(context)
    choose_by = choose_by or (known[-1] if known else BOTH)
    if choose_by not in CHOOSERS:
        raise EvaluationError(f"choose_by {choose_by!r} is none of {', '.join(CHOOSERS)}.")
    for head in _TOLD_BY[choose_by]:
        trained_heads.require(context, head, f"{NAME} by {choose_by}")
    asked = _asked(context)
    pieces, cut = context.runner.cut_sentences(asked.texts)
    _require_apart(context, asked, pieces, cut)
    read = _Read(pieces, context.runner.text_embeddings(pieces))
    every = _chosen_by(context, asked, read, asked.rows, asked.rows)
    variants = {name: every[name] for name in known}
    scores, notes = _baselines(context, asked, read, choose_by)
    right = asked.right
    shares = {name: classification.right_shares(of, right) for name, of in variants.items()}
    others = {name: classification.right_shares(of, right) for name, of in scores.items()}
    kinds = questions.places_of_kinds([of.kind for of in asked.questions])
    return TaskResult(
        task=NAME,
        expected=asked.ids,
        protocol=(
            f"the best of {_numbers(asked)} candidates; candidates that share the best score share "
            "the point"
        ),
        averaging=classification.AVERAGING,
        truncation={
            **truncation.counts(context, asked.ids),
            "candidates_cut": int(cut[asked.candidates[asked.there]].sum()),
        },
        metrics=questions.figures(shares[choose_by], kinds),
        baselines={
            "chance": questions.figures(1.0 / asked.there.sum(axis=1), kinds),
            **{name: questions.figures(of, kinds) for name, of in others.items()},
        },
        examples=_examples(context, asked, variants[choose_by], shares, choose_by, others),
        details={
            report.ANSWERED_BY: f"each candidate read behind its question, by {choose_by}",
            "choose_by": choose_by,
            "variants": {name: questions.figures(of, kinds) for name, of in shares.items()},
        },
        notes=notes,
        statistics=questions.statistics(kinds),
        absent=asked.absent,
    )


def _known(context: EvaluationContext) -> list[str]:
    """Those of CHOOSERS whose heads may be asked; by both, if it is there, last."""
    may = {name: [trained_heads.may_ask(context, h) for h in of] for name, of in _TOLD_BY.items()}
    return [name for name in CHOOSERS if all(may[name])]


def _asked(context: EvaluationContext) -> _Asked:
    of_split = questions.of_split(context.dataset, context.split)
    known = [e for e in context.ids.tolist() if of_split[e].candidates]
    ids, absent = context.by_clips(np.array(known, np.int64))
    rows = context.expect(ids, "candidates to choose from and clips")
    chosen = [of_split[example] for example in ids.tolist()]
    texts: dict[str, int] = {}
    candidates = np.full((len(chosen), max(len(of.candidates) for of in chosen)), -1)
    for row, of in enumerate(chosen):
        for place, candidate in enumerate(of.candidates):
            text = f"{of.text} {candidate}".strip()
            candidates[row, place] = texts.setdefault(text, len(texts))
    return _Asked(ids, absent, rows, chosen, list(texts), candidates)


def _require_apart(
    context: EvaluationContext,
    asked: _Asked,
    read: list[list[int]],
    cut: Bool[np.ndarray, " m"],
) -> None:
    """Raises EvaluationError where candidates of a question are equal as they are read."""
    for question, row in zip(asked.questions, asked.candidates.tolist(), strict=True):
        places = [place for place in row if place >= 0]
        if len({tuple(read[place]) for place in places}) == len(places):
            continue
        reason = (
            f"are the same in their first {context.bundle.maximum_pieces} pieces, as many as the "
            "network reads; evaluate one that was trained with a longer data.text_length"
            if cut[places].any()
            else "repeat each other, as the network reads them; take repeated ones out of the data"
        )
        raise EvaluationError(
            f"the candidates {list(question.candidates)} of {question.text!r} {reason}."
        )


def _chosen_by(
    context: EvaluationContext,
    asked: _Asked,
    read: _Read,
    tower_rows: Int[np.ndarray, " n"] | None,
    matched_rows: Int[np.ndarray, " n"] | None,
) -> dict[str, Float[np.ndarray, "n k"]]:
    """Log-probabilities among the candidates, by each of CHOOSERS, of the videos at these rows.

    None withholds the video: the matching head sees none, and the towers the mean of all.
    """
    runner, encodings = context.runner, context.encodings
    places = asked.candidates[asked.there]
    owners = np.nonzero(asked.there)[0]
    texts = read.embeddings[places]
    if tower_rows is None:
        videos = encodings.video_embeddings[asked.rows].mean(axis=0, keepdims=True)
    else:
        videos = encodings.video_embeddings[tower_rows][owners]
    cosines = (texts * videos).sum(axis=1) * runner.contrastive_scale
    rows = asked.rows if matched_rows is None else matched_rows
    matched = runner.text_matching_scores(
        encodings,
        [read.pieces[place] for place in places.tolist()],
        rows[owners],
        with_video=matched_rows is not None,
    )
    towers, matching = (
        prompts.log_softmax(asked.scores(np.asarray(of, np.float64))) for of in (cosines, matched)
    )
    return {TOWERS: towers, MATCHING: matching, BOTH: towers + matching}


def _baselines(
    context: EvaluationContext, asked: _Asked, read: _Read, choose_by: str
) -> tuple[dict[str, Float[np.ndarray, "n k"]], list[str]]:
    """({baseline: scores of the candidates}, notes that say what of)."""
    found = {"language_prior": _chosen_by(context, asked, read, None, None)[choose_by]}
    notes = []
    kinds = [of.kind for of in asked.questions]
    videos = np.asarray(context.split.video[asked.ids])
    others = other_videos.of_same_kind(videos, kinds, seed=context.seed)
    if others is None:
        notes.append("no shuffled_video: too many questions of a kind are about one video")
    else:
        rows = asked.rows[others]
        found["shuffled_video"] = _chosen_by(context, asked, read, rows, rows)[choose_by]
    fitted, note = _ridge(context)
    notes.append(note)
    if fitted is not None:
        predicted = baselines.unit_rows(fitted.ridge.predict(context.features[asked.ids]))
        vectors = fitted.vectors.transform(asked.texts)
        owners = np.nonzero(asked.there)[0]
        products = (vectors[asked.candidates[asked.there]] * predicted[owners]).sum(axis=1)
        found["supervised_ridge"] = asked.scores(products)
    return found, notes


def _ridge(context: EvaluationContext) -> tuple[baselines.RidgeRetrieval | None, str]:
    """From mean clip features to the words of questions with their answers, or of captions where
    the other split has no questions."""
    split = context.fit_split
    if split is None:
        return None, "no supervised_ridge: the dataset has no other split to fit it to"
    ids, features = context.fits.features(split)
    try:
        of_split = questions.of_split(context.dataset, split)
        texts = [f"{of_split[e].text} {of_split[e].answer}".strip() for e in ids.tolist()]
        what = "questions with their answers"
    except UnfitSplit:
        texts, what = split.texts(ids.tolist()), "captions"
    kept = np.flatnonzero([bool(text.strip()) for text in texts])
    videos = np.asarray(split.video[ids[kept]])
    if len(np.unique(videos)) < 2:
        return None, f"no supervised_ridge: split {split.name!r} has {what} of fewer than 2 videos"
    said = [texts[place] for place in kept.tolist()]
    fitted = baselines.fit_retrieval(features[kept], said, videos, seed=context.seed)
    return fitted, f"supervised_ridge: {len(kept)} {what} of split {split.name!r}"


def _numbers(asked: _Asked) -> str:
    counts = np.unique(asked.there.sum(axis=1)).tolist()
    return " or ".join(map(str, counts))


def _examples(
    context: EvaluationContext,
    asked: _Asked,
    scores: Float[np.ndarray, "n k"],
    shares: dict[str, Float[np.ndarray, " n"]],
    choose_by: str,
    others: dict[str, Float[np.ndarray, " n"]],
) -> list[dict[str, Any]]:
    """A line a question: what was chosen, and how much it counts, by each variant and baseline."""
    lines = []
    for row, (example, of) in enumerate(zip(asked.ids.tolist(), asked.questions, strict=True)):
        counted = float(shares[choose_by][row])
        lines.append(
            {
                **context.line(example),
                "question": of.text,
                "candidates": list(of.candidates),
                "answer": of.answer,
                "chosen": of.candidates[int(scores[row].argmax())],
                "right": counted,
                "of_kind": {of.kind: counted},
                "right_by": {name: float(values[row]) for name, values in shares.items()},
                "baselines": {
                    name: {"right": float(values[row])} for name, values in others.items()
                },
            }
        )
    return lines
