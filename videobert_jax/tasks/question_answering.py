"""Open questions, answered by the head over the most frequent answers of training.

Accuracy is over all questions of the split: one whose answer is not on the network's list counts
as wrong, as MSRVTT-QA's protocol has it (Xu et al. 2017; lists of the 1,500 most frequent answers
since ClipBERT, Lei et al. 2021), and their share is told.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from videobert_jax.tasks import (
    other_videos,
    question_priors,
    questions,
    report,
    trained_heads,
    truncation,
)
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.metrics import classification
from videobert_jax.tasks.questions import Question
from videobert_jax.tasks.report import TaskResult

NAME = questions.OPEN_ENDED


def evaluate(context: EvaluationContext) -> TaskResult:
    """Accuracy of the answers, of all questions and of each kind.

    Raises EvaluationError where the network has no answer head, or the split no questions.
    """
    answers = context.bundle.answers
    if not answers:
        raise EvaluationError(
            f"{NAME} needs a network with an answer head, and {context.bundle.name} has none "
            "(model.answers=0); evaluate one trained with objectives.answering, or the task "
            "multiple_choice, which needs none."
        )
    trained_heads.require(context, trained_heads.ANSWERS, NAME)
    of_split = questions.of_split(context.dataset, context.split)
    ids = context.ids
    asked = [of_split[example] for example in ids.tolist()]
    rows = context.expect(ids, "a question")
    number = {answer: place for place, answer in enumerate(answers)}
    right = np.array([number.get(of.answer, -1) for of in asked])
    logits = {"": context.runner.answer_logits(context.encodings, rows, rows, with_video=True)}
    told, notes = _other_answers(context, ids, rows, asked)
    logits |= told
    shares = {name: classification.right_shares(of, right) for name, of in logits.items()}
    priors, of_priors = question_priors.of(context, ids, asked)
    shares |= priors
    kinds = questions.places_of_kinds([of.kind for of in asked])
    outside = float((right < 0).mean())
    return TaskResult(
        task=NAME,
        expected=ids,
        protocol=(
            "each question of the split; another answer than its own is wrong, and so is every one "
            "to a question whose own is on no list of the system's"
        ),
        averaging=classification.AVERAGING,
        truncation=truncation.counts(context, ids),
        metrics=questions.figures(shares[""], kinds),
        baselines={
            "chance": questions.figures((right >= 0) / len(answers), kinds),
            **{name: questions.figures(of, kinds) for name, of in shares.items() if name},
        },
        examples=_examples(context, ids, asked, answers, logits[""], shares),
        details={
            report.ANSWERED_BY: f"one of the {len(answers)} most frequent answers of training",
            "num_answers": len(answers),
            "outside_answers": outside,
            "num_without_clips": int((context.split.clip_count[ids] == 0).sum()),
        },
        notes=[
            f"{100 * outside:.1f} % of the questions have an answer that is not on the list",
            *notes,
            *of_priors,
        ],
        statistics=questions.statistics(kinds),
    )


def _other_answers(
    context: EvaluationContext,
    ids: Int[np.ndarray, " n"],
    rows: Int[np.ndarray, " n"],
    asked: Sequence[Question],
) -> tuple[dict[str, Float[np.ndarray, "n a"]], list[str]]:
    """What the network answers where the video is withheld, and about another one."""
    answer, encodings = context.runner.answer_logits, context.encodings
    found = {"language_prior": answer(encodings, rows, rows, with_video=False)}
    videos = np.asarray(context.split.video[ids])
    others = other_videos.of_same_kind(videos, [of.kind for of in asked], seed=context.seed)
    if others is None:
        return found, ["no shuffled_video: too many questions of a kind are about one video"]
    found["shuffled_video"] = answer(encodings, rows, rows[others], with_video=True)
    return found, []


def _examples(
    context: EvaluationContext,
    ids: Int[np.ndarray, " n"],
    asked: Sequence[Question],
    answers: Sequence[str],
    logits: Float[np.ndarray, "n a"],
    shares: dict[str, Float[np.ndarray, " n"]],
) -> list[dict[str, Any]]:
    """A line a question: what was answered, and how much it counts, here and by each baseline."""
    best = logits.argmax(axis=1).tolist()
    lines = []
    for row, (example, of) in enumerate(zip(ids.tolist(), asked, strict=True)):
        counted = float(shares[""][row])
        lines.append(
            {
                **context.line(example),
                "question": of.text,
                "answer": of.answer,
                "answered": answers[best[row]],
                "right": counted,
                "of_kind": {of.kind: counted},
                "baselines": {
                    name: {"right": float(values[row])} for name, values in shares.items() if name
                },
            }
        )
    return lines
