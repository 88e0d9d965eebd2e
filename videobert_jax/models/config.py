"""Settings of the network; meaning and defaults stand in configs/base.py."""

import dataclasses
from collections.abc import Collection

RAW, EMA = WEIGHTS = ("raw", "ema")  # as training left them, or their moving average

# Names of several top-level modules of the network at once, in settings that name its parts.
MODULE_GROUPS: dict[str, tuple[str, ...]] = {
    "text_tower": ("text_embedding", "text_encoder"),
    "video_tower": ("video_embedding", "video_encoder"),
    "heads": (
        "masked_language_head",
        "masked_video_head",
        "pooler",
        "matching_head",
        "joint_head",
        "bag_of_words_head",
        "token_head",
    ),
}
OPTIONAL_MODULES = {"bag_of_words_head", "token_head"}  # of a group, where the model has them

NORMS = ("pre", "post")
ACTIVATIONS = ("gelu", "relu")
COMPUTE_DTYPES = ("float32", "bfloat16")
REMAT_POLICIES = ("none", "dots", "full")
INPUT_NORMALIZATIONS = ("none", "l2", "standardize")
TEXT_INPUTS = ("pieces", "bert_vectors")
ATTENTION_FORMS = ("auto", "dense", "kernel", "lengths")
# Slots of a row from which the scores of all its pairs cost a TPU more time in memory than the
# kernel loses by lanes that are not filled: by the sizes of both, not measured.
KERNEL_ROW_LENGTH = 256
MASKED_VIDEO_HEADS = ("nce", "visual_words", "regression")


@dataclasses.dataclass(frozen=True)
class BertConfig:
    embed_dim: int
    num_heads: int
    feed_forward_dim: int
    num_layers: int
    activation: str
    norm_epsilon: float

    def __post_init__(self) -> None:
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"model.text.bert.embed_dim={self.embed_dim} is not divisible by "
                f"model.text.bert.num_heads={self.num_heads}; say those of the BERT."
            )


@dataclasses.dataclass(frozen=True)
class TextConfig:
    num_layers: int
    vocabulary_size: int
    max_length: int
    input: str
    bert: BertConfig


@dataclasses.dataclass(frozen=True)
class VideoConfig:
    num_layers: int
    feature_dim: int
    max_length: int
    input_normalization: str
    input_dropout_rate: float
    input_mixing_rate: float


@dataclasses.dataclass(frozen=True)
class CrossConfig:
    num_layers: int
    share_directions: bool


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    num_layers: int


@dataclasses.dataclass(frozen=True)
class VisualWordsConfig:
    branching: int
    depth: int


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    embed_dim: int
    num_heads: int
    feed_forward_dim: int
    joint_dim: int
    bag_of_words_head: bool
    token_head: bool
    masked_video_head: str
    visual_words: VisualWordsConfig
    activation: str
    norm: str
    norm_epsilon: float
    dropout_rate: float
    attention: str
    attention_dropout_rate: float
    compute_dtype: str
    remat: str
    unroll_layers: bool
    text: TextConfig
    video: VideoConfig
    cross: CrossConfig
    decoder: DecoderConfig

    def __post_init__(self) -> None:
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"model.embed_dim={self.embed_dim} is not divisible by "
                f"model.num_heads={self.num_heads}; change one of them."
            )
        for name, value, allowed in (
            ("norm", self.norm, NORMS),
            ("activation", self.activation, ACTIVATIONS),
            ("compute_dtype", self.compute_dtype, COMPUTE_DTYPES),
            ("remat", self.remat, REMAT_POLICIES),
            ("attention", self.attention, ATTENTION_FORMS),
            ("masked_video_head", self.masked_video_head, MASKED_VIDEO_HEADS),
            ("text.input", self.text.input, TEXT_INPUTS),
            (
                "video.input_normalization",
                self.video.input_normalization,
                INPUT_NORMALIZATIONS,
            ),
        ):
            if value not in allowed:
                raise ValueError(f"model.{name}={value!r} is none of {', '.join(allowed)}.")
        if not self.norm_epsilon > 0.0:
            raise ValueError(f"model.norm_epsilon={self.norm_epsilon} is not above 0.")
        for name, rate in (
            ("dropout_rate", self.dropout_rate),
            ("attention_dropout_rate", self.attention_dropout_rate),
            ("video.input_dropout_rate", self.video.input_dropout_rate),
        ):
            if not 0.0 <= rate < 1.0:
                raise ValueError(f"model.{name}={rate} is outside [0, 1).")
        if self.attention in ("kernel", "lengths") and self.attention_dropout_rate:
            raise ValueError(
                f"model.attention={self.attention!r} has no dropout, found "
                f"model.attention_dropout_rate={self.attention_dropout_rate}; use 'dense', or 0."
            )
        if not 0.0 <= self.video.input_mixing_rate <= 1.0:
            raise ValueError(
                f"model.video.input_mixing_rate={self.video.input_mixing_rate} is outside [0, 1]."
            )

    def on(self, platform: str, row_length: int) -> "ModelConfig":
        """The settings with a form of attention that the platform ("cpu", "gpu", "tpu") has, where
        rows are so long on their longer side; none is "auto".

        Raises ValueError where the form that is set is another platform's.
        """
        form = self.attention
        if form == "kernel" and platform != "tpu":
            raise ValueError(
                f"model.attention='kernel' is for TPUs, found {platform}; use 'auto' or 'dense'."
            )
        if form == "auto":
            long = platform == "tpu" and row_length >= KERNEL_ROW_LENGTH
            form = "kernel" if long and not self.attention_dropout_rate else "dense"
        return dataclasses.replace(self, attention=form)

    @property
    def head_dim(self) -> int:
        return self.embed_dim // self.num_heads

    @property
    def bert(self) -> "ModelConfig":
        """Settings under which a text tower is the frozen BERT that `text.bert` describes."""
        text = dataclasses.replace(self.text, num_layers=self.text.bert.num_layers, input="pieces")
        bert = dataclasses.asdict(self.text.bert)
        del bert["num_layers"]
        return dataclasses.replace(self, **bert, norm="post", text=text)

    @property
    def modules(self) -> tuple[str, ...]:
        """Top-level modules of the network; one without layers may have no parameters."""
        optional = {
            "bag_of_words_head": self.bag_of_words_head,
            "token_head": self.token_head,
            "decoder": self.decoder.num_layers > 0,
        }
        absent = {name for name, is_there in optional.items() if not is_there}
        named = [name for group in MODULE_GROUPS.values() for name in group]
        return tuple(name for name in [*named, "cross_encoder", "decoder"] if name not in absent)


class UnknownModule(ValueError):
    """A name that is neither a group of modules nor a module."""


def module_names(names: Collection[str], available: Collection[str]) -> set[str]:
    """The modules out of `available` that these names of modules and groups stand for.

    Raises UnknownModule, whose text goes on after "SETTING names ".
    """
    found: set[str] = set()
    for name in names:
        modules = set(MODULE_GROUPS.get(name, (name,)))
        if name in MODULE_GROUPS:
            modules -= OPTIONAL_MODULES - set(available)
        if not modules <= set(available):
            raise UnknownModule(
                f"{name!r}; the model has the groups {', '.join(MODULE_GROUPS)} and the modules "
                f"{', '.join(sorted(available))}."
            )
        found |= modules
    return found
