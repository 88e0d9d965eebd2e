"""Settings of the pretraining objectives; meaning and defaults stand in configs/base.py."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class MaskedLanguageConfig:
    weight: float


@dataclasses.dataclass(frozen=True)
class MaskedVideoConfig:
    weight: float
    temperature: float


@dataclasses.dataclass(frozen=True)
class MatchingConfig:
    weight: float


@dataclasses.dataclass(frozen=True)
class ContrastiveConfig:
    weight: float


@dataclasses.dataclass(frozen=True)
class BagOfWordsConfig:
    weight: float


@dataclasses.dataclass(frozen=True)
class ObjectivesConfig:
    masked_language: MaskedLanguageConfig
    masked_video: MaskedVideoConfig
    matching: MatchingConfig
    contrastive: ContrastiveConfig
    bag_of_words: BagOfWordsConfig
    twin_clip_distance: int

    def __post_init__(self) -> None:
        weights = self.weights()
        if min(weights.values()) < 0 or not any(weights.values()):
            raise ValueError(
                f"objectives have the weights {weights}; none may be negative and one must be "
                "positive."
            )

    def weights(self) -> dict[str, float]:
        """Weight of every objective by name."""
        return {
            "masked_language": self.masked_language.weight,
            "masked_video": self.masked_video.weight,
            "matching": self.matching.weight,
            "contrastive": self.contrastive.weight,
            "bag_of_words": self.bag_of_words.weight,
        }
