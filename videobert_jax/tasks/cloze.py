"""Candidates of a declared list tried in the blank of a sentence, with and without the video.

A candidate of k pieces gets k masks, all predicted at once; its score is the mean log-probability
of its pieces, so that long and short candidates compare.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.encoding import MaskedText
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.text.templates import Blank
from videobert_jax.text.tokenizer import Tokenizer

SCORE = (
    "mean log-probability over a form's k pieces, tried in k masks at once; a label scores as the "
    "sum of its surface forms' probabilities"
)


@dataclasses.dataclass(frozen=True)
class Candidates:
    """Surface forms that are tried, their pieces, and the label that each stands for."""

    forms: list[str]
    pieces: list[list[int]]
    labels: np.ndarray  # int64 [number of forms]
    num_labels: int

    @classmethod
    def of(cls, forms: Mapping[str, Sequence[str]], tokenizer: Tokenizer) -> "Candidates":
        """All forms of each label, in the order of the labels."""
        flat = [(form, label) for label, of in enumerate(forms.values()) for form in of]
        texts = [form for form, _ in flat]
        labels = np.array([label for _, label in flat])
        return cls(texts, tokenizer.encode(texts), labels, len(forms))

    def of_labels(self, scores: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n j"]:
        """Score of every label: the log of the sum of its forms' probabilities.

        So that a label said in four ways has what they have together (a verbaliser of several
        words: Schick and Schütze 2021, section 3.1).
        """
        out = np.full((len(scores), self.num_labels), -np.inf, scores.dtype)
        for column, label in enumerate(self.labels.tolist()):
            out[:, label] = np.logaddexp(out[:, label], scores[:, column])
        return out


class ClozeScorer:
    """Scores candidates of several slots at one compiled shape.

    `longest` is the largest number of positions that any blank takes before its masks.
    """

    def __init__(
        self, context: EvaluationContext, candidates: Mapping[str, Candidates], longest: int
    ):
        self.context, self.candidates = context, candidates
        self.most_pieces = max(len(p) for c in candidates.values() for p in c.pieces)
        self.table_rows = max(len(c.pieces) for c in candidates.values())
        capacity = context.bundle.data.text_length
        self.text_length = min(longest + self.most_pieces, capacity)
        if self.text_length < self.most_pieces + 2:
            raise EvaluationError(
                f"a candidate has {self.most_pieces} pieces, but rows of the network's training "
                f"hold {capacity} (data.text_length); leave it out of the label forms."
            )

    def scores(
        self,
        slot: str,
        blanks: Sequence[Blank],
        video_rows: Int[np.ndarray, " n"],
        *,
        with_video: bool,
    ) -> Float[np.ndarray, "n k"]:
        """Score, float32, of every candidate form of `slot` in every blank."""
        candidates = self.candidates[slot]
        lengths = np.array([len(pieces) for pieces in candidates.pieces])
        counts = np.unique(lengths)
        mask_id = self.context.runner.tokenizer.mask_id
        texts = [
            self._masked(blank, count, row, mask_id)
            for count in counts.tolist()
            for blank, row in zip(blanks, video_rows.tolist(), strict=True)
        ]
        scored = self.context.runner.candidate_scores(
            self.context.encodings,
            texts,
            candidates.pieces,
            text_length=self.text_length,
            table_shape=(self.table_rows, self.most_pieces),
            with_video=with_video,
        ).reshape(len(counts), len(blanks), len(lengths))
        return scored[np.searchsorted(counts, lengths), :, np.arange(len(lengths))].T

    def num_cut(self, slot: str, blanks: Sequence[Blank]) -> int:
        """Blanks too long for a row with some candidate."""
        most = max(len(pieces) for pieces in self.candidates[slot].pieces)
        return sum(blank.length(most) > self.text_length for blank in blanks)

    def _masked(self, blank: Blank, num_masks: int, video_row: int, mask_id: int) -> MaskedText:
        tokenizer = self.context.runner.tokenizer
        # what does not fit goes from the end, then from the beginning
        room = self.text_length - num_masks - 2
        after = blank.after[: max(room - len(blank.before), 0)]
        before = blank.before[max(len(blank.before) - room, 0) :]
        first = 1 + len(before)
        return MaskedText(
            ids=(tokenizer.cls_id, *before, *[mask_id] * num_masks, *after, tokenizer.sep_id),
            slots=tuple(range(first, first + num_masks)),
            video_row=video_row,
        )
