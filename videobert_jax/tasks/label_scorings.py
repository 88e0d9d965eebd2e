"""Ways to score zero-shot labels: by cloze, in the joint space, by words, or by several of them."""

import dataclasses

from videobert_jax.tasks import trained_heads
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.errors import EvaluationError

CLOZE, JOINT_SPACE, WORDS = "cloze", "joint_space", "words"
PARTS = {  # scoring -> whose log-probabilities are added, each so many times
    CLOZE: {CLOZE: 1.0},
    JOINT_SPACE: {JOINT_SPACE: 1.0},
    WORDS: {WORDS: 1.0},
    "both": {CLOZE: 1.0, JOINT_SPACE: 1.0},
    "towers": {JOINT_SPACE: 1.0, WORDS: 1.0},
    # The joint space is sure of itself, having learnt to tell few captions apart: where words are
    # told by a linear map, a tenth of it helps with what is new and does not outvote them.
    "words_first": {WORDS: 1.0, JOINT_SPACE: 0.1},
    "all": {CLOZE: 1.0, JOINT_SPACE: 1.0, WORDS: 1.0},
}
_TOLD_BY = {
    CLOZE: trained_heads.WORDS,
    JOINT_SPACE: trained_heads.JOINT,
    WORDS: trained_heads.BAG_OF_WORDS,
}
SCORINGS = tuple(PARTS)
NO_CALIBRATION, PRIOR = CALIBRATIONS = ("none", "prior")


@dataclasses.dataclass(frozen=True)
class Variant:
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
        if CLOZE not in PARTS[self.scoring] and self.calibration == PRIOR:
            raise EvaluationError(
                f"calibration 'prior' is of scores by cloze, and {self.scoring!r} has no prior; "
                "take scoring 'cloze', 'both' or 'all', or no calibration."
            )

    @property
    def by_words(self) -> bool:
        return WORDS in PARTS[self.scoring]

    @property
    def name(self) -> str:
        return self.scoring + ("_less_prior" if self.calibration == PRIOR else "")


VARIANTS = tuple(
    Variant(scoring, calibration)
    for scoring in SCORINGS
    for calibration in CALIBRATIONS
    if CLOZE in PARTS[scoring] or calibration == NO_CALIBRATION
)


def known_variants(context: EvaluationContext, chosen: Variant) -> list[Variant]:
    """The ways to score that the network knows. Raises EvaluationError where `chosen` is none."""
    for part in PARTS[chosen.scoring]:
        trained_heads.require(context, _TOLD_BY[part], f"zero-shot classification by {part}")
    may = {part: trained_heads.may_ask(context, head) for part, head in _TOLD_BY.items()}
    trained = [of for of in VARIANTS if all(may[part] for part in PARTS[of.scoring])]
    if chosen.by_words:
        trained_heads.piece_presence(context, f"scoring {chosen.scoring!r}", "take another scoring")
    has_words = context.encodings.piece_presence is not None
    return [of for of in trained if has_words or not of.by_words]
