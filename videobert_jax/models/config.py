"""Settings of the network; meaning and defaults stand in configs/base.py."""

import dataclasses
from collections.abc import Collection

EXTRA_HEADS = "extra_heads"  # the module of heads of other packages
EXTRA_HEADS_SETTING = "model.extra_heads"
HEAD_NAMES = ("Head",)  # what a module of another package offers as a head
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
        "answer_head",
        "clip_label_head",
        EXTRA_HEADS,
    ),
}
# of a group, where the model has them
OPTIONAL_MODULES = {
    "bag_of_words_head",
    "token_head",
    "answer_head",
    "clip_label_head",
    EXTRA_HEADS,
}
# Fields of ModelConfig that are younger than some runs and exports, at what was done before.
YOUNGER = {
    "answers": 0,
    "clip_labels": 0,
    "extra_heads": (),
    "bag_of_words_reads": "tower",
    "bag_of_words_dropout_rate": 0.0,
}

NORMS = ("pre", "post")
ACTIVATIONS = ("gelu", "relu")
COMPUTE_DTYPES = ("float32", "bfloat16")
REMAT_POLICIES = ("none", "dots", "full")
INPUT_NORMALIZATIONS = ("none", "l2", "standardize")
TEXT_INPUTS = ("pieces", "bert_vectors")
ATTENTION_FORMS = ("auto", "dense", "kernel", "cudnn", "lengths")
# Slots of a row from which the scores of all its pairs cost a TPU more time in memory than flash
# attention loses by lanes that are not filled: by the sizes of both, not measured.
FLASH_ROW_LENGTH = 256
TPU_LANES = 128  # of its vector unit
CUDNN_HEAD_DIM = 128  # the largest that its attention takes on every GPU that it runs on
TOWER, FEATURES = BAG_OF_WORDS_INPUTS = ("tower", "features")
MASKED_VIDEO_HEADS = ("nce", "visual_words", "regression")


def heads_fill_lanes(embed_dim: int, head_dim: int) -> bool:
    """Whether heads side by side fill whole vectors of a TPU, each one vector or several of them,
    or several one."""
    if head_dim % TPU_LANES == 0:
        return True
    return TPU_LANES % head_dim == 0 and embed_dim % TPU_LANES == 0


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

    @property
    def padded(self) -> int:
        """Number of words in whole tiles of a matrix unit."""
        return -(-(self.branching**self.depth) // 128) * 128


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    embed_dim: int
    num_heads: int
    feed_forward_dim: int
    joint_dim: int
    bag_of_words_head: bool
    bag_of_words_reads: str
    bag_of_words_dropout_rate: float
    token_head: bool
    answers: int
    clip_labels: int
    extra_heads: tuple[str, ...]  # dotted paths of modules of other packages
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
            ("bag_of_words_reads", self.bag_of_words_reads, BAG_OF_WORDS_INPUTS),
            ("text.input", self.text.input, TEXT_INPUTS),
            (
                "video.input_normalization",
                self.video.input_normalization,
                INPUT_NORMALIZATIONS,
            ),
        ):
            if value not in allowed:
                raise ValueError(f"model.{name}={value!r} is none of {', '.join(allowed)}.")
        for head in ("answers", "clip_labels"):
            if (size := getattr(self, head)) < 0:
                raise ValueError(f"model.{head}={size}; expected 0 (no head) or more.")
        if not self.norm_epsilon > 0.0:
            raise ValueError(f"model.norm_epsilon={self.norm_epsilon} is not above 0.")
        for name, rate in (
            ("dropout_rate", self.dropout_rate),
            ("attention_dropout_rate", self.attention_dropout_rate),
            ("video.input_dropout_rate", self.video.input_dropout_rate),
            ("bag_of_words_dropout_rate", self.bag_of_words_dropout_rate),
        ):
            if not 0.0 <= rate < 1.0:
                raise ValueError(f"model.{name}={rate} is outside [0, 1).")
        if self.attention in ("kernel", "cudnn", "lengths") and self.attention_dropout_rate:
            raise ValueError(
                f"model.attention={self.attention!r} has no dropout, found "
                f"model.attention_dropout_rate={self.attention_dropout_rate}; use 'dense', or 0."
            )
        if not 0.0 <= self.video.input_mixing_rate <= 1.0:
            raise ValueError(
                f"model.video.input_mixing_rate={self.video.input_mixing_rate} is outside [0, 1]."
            )

    def on(self, platform: str, row_length: int, tensor: int) -> "ModelConfig":
        """The settings with a form of attention that the platform ("cpu", "gpu", "tpu") has, where
        rows are so long on their longer side and heads are split over `tensor` devices; none is
        "auto".

        Raises ValueError where the form that is set is another platform's.
        """
        form = self.attention
        for alone, its in (("kernel", "tpu"), ("cudnn", "gpu")):
            if form == alone and platform != its:
                raise ValueError(
                    f"model.attention={form!r} is for {its.upper()}s, found {platform}; use 'auto' "
                    "or 'dense'."
                )
        if form == "cudnn" and (
            self.compute_dtype != "bfloat16" or self.head_dim % 8 or self.head_dim > CUDNN_HEAD_DIM
        ):
            raise ValueError(
                f"model.attention='cudnn' takes bfloat16 and heads of up to {CUDNN_HEAD_DIM} in "
                f"steps of 8, found model.compute_dtype={self.compute_dtype!r} and heads of "
                f"{self.head_dim}; use 'auto' or 'dense'."
            )
        if form == "auto":
            filled = heads_fill_lanes(self.embed_dim // tensor, self.head_dim)
            kernel = platform == "tpu" and (filled or row_length >= FLASH_ROW_LENGTH)
            form = "kernel" if kernel and not self.attention_dropout_rate else "dense"
        return dataclasses.replace(self, attention=form)

    @property
    def padded_answers(self) -> int:
        """Number of answers in whole tiles of a matrix unit."""
        return -(-self.answers // 128) * 128

    @property
    def padded_clip_labels(self) -> int:
        """Number of clips' labels, that of none included, in whole tiles of a matrix unit."""
        return -(-(self.clip_labels + 1) // 128) * 128

    @property
    def head_dim(self) -> int:
        return self.embed_dim // self.num_heads

    @property
    def split_dimensions(self) -> dict[str, tuple[int, str]]:
        """Sizes of what a mesh splits, by setting, each with its mesh axis
        (`sharding.partitioning.MESH_AXES`)."""
        found = {
            "model.embed_dim": (self.embed_dim, "fsdp"),
            "model.num_heads": (self.num_heads, "tensor"),
            "model.feed_forward_dim": (self.feed_forward_dim, "tensor"),
            "model.text.vocabulary_size": (self.text.vocabulary_size, "tensor"),
        }
        if self.masked_video_head == "visual_words":
            found["model.visual_words"] = (self.visual_words.padded, "tensor")
        if self.answers:
            found["model.answers"] = (self.padded_answers, "tensor")
        if self.clip_labels:
            found["model.clip_labels"] = (self.padded_clip_labels, "tensor")
        if self.text.input == "bert_vectors":
            bert = self.text.bert
            found |= {
                "model.text.bert.embed_dim": (bert.embed_dim, "fsdp"),
                "model.text.bert.num_heads": (bert.num_heads, "tensor"),
                "model.text.bert.feed_forward_dim": (bert.feed_forward_dim, "tensor"),
            }
        return found

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
            "answer_head": self.answers > 0,
            "clip_label_head": self.clip_labels > 0,
            EXTRA_HEADS: bool(self.extra_heads),
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
