"""Settings of the pretraining objectives; meaning and defaults stand in configs/base.py."""

import dataclasses
import math

# Regimes of the sources that an objective has something to learn from.
REGIMES: dict[str, tuple[str, ...]] = {
    "masked_language": ("text_video", "text_only"),
    "masked_video": ("text_video", "video_only"),
    "matching": ("text_video",),
    "contrastive": ("text_video",),
    "bag_of_words": ("text_video",),
    "token_contrastive": ("text_video",),
    "cascade": ("text_video",),
    "captioning": ("text_video",),
    "answering": ("text_video", "text_only"),
    "segmentation": ("text_video", "video_only"),
}
HEADS = {  # objective -> the module that it alone teaches, beside what it shares with others
    "masked_language": "masked_language_head",
    "masked_video": "masked_video_head",
    "matching": "matching_head",
    "contrastive": "joint_head",
    "bag_of_words": "bag_of_words_head",
    "token_contrastive": "token_head",
    "cascade": "matching_head",
    "captioning": "decoder",
    "answering": "answer_head",
    "segmentation": "clip_label_head",
}
NEGATIVES = ("uniform", "hard")
EXTRA_SETTING = "objectives.extra"
EXTRA_NAMES = ("weight", "total")  # what a module of another package offers as an objective


def _require_temperature(objective: str, temperature: float) -> None:
    if not temperature > 0:
        raise ValueError(
            f"objectives.{objective}.temperature={temperature}; expected more than 0, such as 0.07."
        )


@dataclasses.dataclass(frozen=True)
class MaskedLanguageConfig:
    weight: float


@dataclasses.dataclass(frozen=True)
class MaskedVideoConfig:
    weight: float
    temperature: float

    def __post_init__(self) -> None:
        _require_temperature("masked_video", self.temperature)


@dataclasses.dataclass(frozen=True)
class MatchingConfig:
    weight: float
    negatives: str

    def __post_init__(self) -> None:
        if self.negatives not in NEGATIVES:
            raise ValueError(
                f"objectives.matching.negatives={self.negatives!r} is none of "
                f"{', '.join(NEGATIVES)}."
            )


@dataclasses.dataclass(frozen=True)
class ContrastiveConfig:
    weight: float
    near_clips: int
    chunks: int

    def __post_init__(self) -> None:
        if self.near_clips < 0:
            raise ValueError(
                f"objectives.contrastive.near_clips={self.near_clips}; expected 0 (the pair itself "
                "alone) or more."
            )
        if self.chunks < 1:
            raise ValueError(f"objectives.contrastive.chunks={self.chunks}; expected 1 or more.")


@dataclasses.dataclass(frozen=True)
class BagOfWordsConfig:
    weight: float


CAPTIONING_INPUTS = VIDEO, TRANSCRIPT, BOTH = ("video", "transcript", "both")


@dataclasses.dataclass(frozen=True)
class CaptioningConfig:
    weight: float
    label_smoothing: float
    word_dropout: float
    inputs: str
    chunks: int

    def __post_init__(self) -> None:
        if self.inputs not in CAPTIONING_INPUTS:
            raise ValueError(
                f"objectives.captioning.inputs={self.inputs!r} is none of "
                f"{', '.join(CAPTIONING_INPUTS)}."
            )
        if not 0.0 <= self.label_smoothing < 1.0:
            raise ValueError(
                f"objectives.captioning.label_smoothing={self.label_smoothing} is outside "
                "[0, 1); it is the share of probability that is spread over all pieces, 0 for none."
            )
        if not 0.0 <= self.word_dropout < 1.0:
            raise ValueError(
                f"objectives.captioning.word_dropout={self.word_dropout} is outside "
                "[0, 1); it is the share of pieces that the decoder does not see, 0 hides none."
            )
        if self.chunks < 1:
            raise ValueError(f"objectives.captioning.chunks={self.chunks}; expected 1 or more.")


@dataclasses.dataclass(frozen=True)
class TokenContrastiveConfig:
    weight: float
    temperature: float
    chunks: int

    def __post_init__(self) -> None:
        _require_temperature("token_contrastive", self.temperature)
        if self.chunks < 1:
            raise ValueError(
                f"objectives.token_contrastive.chunks={self.chunks}; expected 1 or more."
            )


@dataclasses.dataclass(frozen=True)
class CascadeConfig:
    weight: float
    negatives: int

    def __post_init__(self) -> None:
        if self.negatives < 1:
            raise ValueError(
                f"objectives.cascade.negatives={self.negatives}; expected 1 or more; the weight 0 "
                "switches the objective off."
            )


@dataclasses.dataclass(frozen=True)
class AnsweringConfig:
    weight: float


@dataclasses.dataclass(frozen=True)
class SegmentationConfig:
    weight: float


@dataclasses.dataclass(frozen=True)
class ObjectivesConfig:
    masked_language: MaskedLanguageConfig
    masked_video: MaskedVideoConfig
    matching: MatchingConfig
    contrastive: ContrastiveConfig
    bag_of_words: BagOfWordsConfig
    token_contrastive: TokenContrastiveConfig
    cascade: CascadeConfig
    captioning: CaptioningConfig
    answering: AnsweringConfig
    segmentation: SegmentationConfig
    extra: tuple[str, ...]  # "package.module=weight" each, objectives of other packages
    twin_clip_distance: int

    def __post_init__(self) -> None:
        weights = self.weights()
        if min(weights.values()) < 0 or not any(weights.values()):
            raise ValueError(
                f"objectives have the weights {weights}; none may be negative and one must be "
                "positive."
            )

    @property
    def mismatches(self) -> int:
        """How many mismatched pairs of each example are judged: passes of the cross-modal encoder
        beside that of the matched one."""
        cascade = self.cascade.negatives if self.cascade.weight > 0 else 0
        return cascade + (self.matching.weight > 0)

    def weights(self) -> dict[str, float]:
        """Weight of every objective by name."""
        return {
            "masked_language": self.masked_language.weight,
            "masked_video": self.masked_video.weight,
            "matching": self.matching.weight,
            "contrastive": self.contrastive.weight,
            "bag_of_words": self.bag_of_words.weight,
            "token_contrastive": self.token_contrastive.weight,
            "cascade": self.cascade.weight,
            "captioning": self.captioning.weight,
            "answering": self.answering.weight,
            "segmentation": self.segmentation.weight,
            **self.extra_weights(),
        }

    def extra_weights(self) -> dict[str, float]:
        """Weight of every objective of another package by its dotted path. Raises ValueError."""
        found: dict[str, float] = {}
        for entry in self.extra:
            path, _, text = entry.partition("=")
            path = path.strip()
            try:
                weight = float(text)
            except ValueError:
                weight = math.nan
            if path in found or "." not in path or not math.isfinite(weight):
                raise ValueError(
                    f"{EXTRA_SETTING}={','.join(self.extra)}: found {entry!r}; expected "
                    "package.module=WEIGHT, with commas between several, each once."
                )
            found[path] = weight
        return found
