"""What a run that goes on may change: every setting has a rule, and so has what it was trained on.

A setting without a rule is treated as one that must match; a test finds it.
"""

import dataclasses
import enum
import re


class Kind(enum.Enum):
    """MUST_MATCH: a change is refused unless --allow-change names it. NEVER: it is always refused.
    NOTICE: a change is said and recorded. FREE: it changes nothing that anybody could see."""

    MUST_MATCH = "must match"
    NEVER = "can never change"
    NOTICE = "may change, with notice"
    FREE = "free"


@dataclasses.dataclass(frozen=True)
class Rule:
    """One kind for these names ("data.sources.*.path": of every source), and why."""

    kind: Kind
    why: str
    names: tuple[str, ...]


def _rule(kind: Kind, why: str, names: str, prefix: str = "") -> Rule:
    return Rule(kind, why, tuple(prefix + name for name in names.split()))


_LAYOUT = "decides which parameters there are, or their shapes"
# Of the model: what its parameters were learnt for, whichever run goes on with them.
FUNCTION = (
    "activation norm_epsilon text.bert.activation text.bert.norm_epsilon video.input_normalization"
)
_ORDER = "decides which examples a step takes, and in which order"
RULES = (
    # What the network is.
    _rule(
        Kind.MUST_MATCH,
        _LAYOUT,
        "embed_dim num_heads feed_forward_dim joint_dim bag_of_words_head bag_of_words_reads "
        "token_head answers clip_labels extra_heads masked_video_head visual_words.branching "
        "visual_words.depth norm unroll_layers text.num_layers text.vocabulary_size "
        "text.max_length text.input "
        "text.bert.embed_dim text.bert.num_heads text.bert.feed_forward_dim text.bert.num_layers "
        "video.num_layers video.feature_dim video.max_length cross.num_layers "
        "cross.share_directions decoder.num_layers",
        "model.",
    ),
    _rule(
        Kind.MUST_MATCH,
        "the parameters were learnt for the function that it is part of",
        FUNCTION,
        "model.",
    ),
    _rule(
        Kind.MUST_MATCH,
        "decides what is dropped or mixed while the network learns",
        "dropout_rate attention_dropout_rate bag_of_words_dropout_rate video.input_dropout_rate "
        "video.input_mixing_rate",
        "model.",
    ),
    _rule(
        Kind.MUST_MATCH,
        "another way to the same function: figures and parameters differ by rounding",
        "attention compute_dtype remat",
        "model.",
    ),
    _rule(
        Kind.MUST_MATCH,
        "sums are taken in another order, so the bits would be of neither kind of run",
        "exact",
    ),
    # What it learns, and from what.
    _rule(
        Kind.MUST_MATCH,
        "decides what is learnt: the loss before and after would be two",
        "masked_language.weight masked_video.weight masked_video.temperature matching.weight "
        "matching.negatives contrastive.weight contrastive.near_clips contrastive.chunks "
        "bag_of_words.weight token_contrastive.weight token_contrastive.temperature "
        "token_contrastive.chunks cascade.weight cascade.negatives captioning.weight "
        "captioning.label_smoothing captioning.word_dropout captioning.inputs captioning.chunks "
        "answering.weight segmentation.weight extra twin_clip_distance",
        "objectives.",
    ),
    _rule(
        Kind.MUST_MATCH,
        _ORDER,
        "seed data.block_size data.blocks_per_batch data.read_group training.accumulation_steps "
        "data.sources.*.name data.sources.*.split data.sources.*.weight data.sources.*.regime "
        "data.sources.*.neighbour_videos data.sources.*.transcripts",
    ),
    _rule(
        Kind.MUST_MATCH,
        "decides what of an example the network sees",
        "examples_per_row text_length video_length target_length vocabulary_size visual_words "
        "clip_labels drawing.overlapped_examples drawing.overlapped_min_clips "
        "drawing.overlapped_max_clips drawing.joined_examples drawing.highest_rate "
        "drawing.run_clips masking.text_rate masking.text_examples "
        "masking.text_frequency_exponent masking.text_mean_span masking.whole_text_examples "
        "masking.video_rate masking.video_examples masking.video_mean_span masking.whole_words "
        "masking.whole_pairs",
        "data.",
    ),
    _rule(
        Kind.MUST_MATCH,
        "decides how far each update moves the parameters",
        "learning_rate warmup_steps end_learning_rate_fraction weight_decay b1 b2 eps clip_norm "
        "layer_decay spike_factor",
        "optimizer.",
    ),
    _rule(
        Kind.MUST_MATCH,
        "decides what the optimiser keeps for each parameter",
        "optimizer.frozen optimizer.ema_decay",
    ),
    _rule(
        Kind.MUST_MATCH,
        "the learning rate falls towards the last step, so other lengths are other runs",
        "training.num_steps stages",
    ),
    _rule(
        Kind.MUST_MATCH,
        "what the run began with, which a checkpoint holds since",
        "init.checkpoint init.modules init.bert init.bert_video_layers init.visual_word_embeddings",
    ),
    # What else the checkpoint is of; no settings, but named by --allow-change as they are.
    _rule(Kind.MUST_MATCH, "the examples would not be those that the run has seen", "dataset"),
    _rule(
        Kind.MUST_MATCH,
        "a cast loses digits, which the optimiser's small updates need",
        "parameter_dtypes",
    ),
    _rule(
        Kind.NEVER,
        "piece ids would mean other words; a new run takes the other parts over with "
        "init.checkpoint and init.modules",
        "tokenizer",
    ),
    _rule(
        Kind.NEVER,
        "numbers of a feature would mean other things; a new run takes the text tower over with "
        "init.checkpoint and init.modules=text_tower",
        "contract",
    ),
    # What may change.
    _rule(
        Kind.NOTICE,
        "sums are taken in another order or by other devices, so the bits are no longer those of a "
        "run without the change",
        "platform deterministic mesh.data mesh.fsdp mesh.tensor optimizer.shard_over_data",
    ),
    _rule(
        Kind.NOTICE,
        "decides what the run does about bad numbers from here on",
        "data.max_damaged_fraction training.max_skipped_updates training.max_rollbacks",
    ),
    _rule(
        Kind.NOTICE,
        "decides which checkpoints stay; older ones are deleted at the next save",
        "training.keep_checkpoints training.best_metric training.best_is_highest",
    ),
    _rule(Kind.NOTICE, "records of the model keep the name that it began with", "name"),
    _rule(
        Kind.FREE,
        "where files lie and how they are read; what lies there is compared by digest",
        "path local_copy sources.*.path sources.*.neighbours sources.*.alignment content_words "
        "executor workers prefetch parallel_reads",
        "data.",
    ),
    _rule(
        Kind.FREE,
        "decides when something is written or measured, or how long a run that hangs is waited for",
        "log_every save_every eval_every eval_tasks profile_first_step profile_steps "
        "profile_memory_step step_timeout_seconds wandb_project",
        "training.",
    ),
)
_UNKNOWN = Rule(Kind.MUST_MATCH, "this version knows no such setting", ())
_BY_NAME = {name: rule for rule in RULES for name in rule.names}
_OF_A_STAGE = re.compile(r"stages\.\d+\.")
_OF_A_SOURCE = re.compile(r"data\.sources\..+\.")


def rule_of(key: str) -> Rule:
    """The rule of a setting by the dotted key that it has in config.json."""
    return _BY_NAME.get(general_name(key), _UNKNOWN)


def general_name(key: str) -> str:
    """The name in RULES of a setting: a source's own name is "*", a stage's setting the run's."""
    key, of_stage = _OF_A_STAGE.subn("", key, count=1)
    if of_stage and key == "steps":
        return "training.num_steps"
    return _OF_A_SOURCE.sub("data.sources.*.", key)


def names() -> tuple[str, ...]:
    """All names that have a rule."""
    return tuple(_BY_NAME)
