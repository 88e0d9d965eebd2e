"""All settings of a run, frozen, and which of them contradict each other."""

import dataclasses

from videobert_jax import extensions
from videobert_jax.data.config import DataConfig
from videobert_jax.models.config import (
    EXTRA_HEADS_SETTING,
    HEAD_NAMES,
    ModelConfig,
    UnknownModule,
    module_names,
)
from videobert_jax.objectives import config as objectives
from videobert_jax.objectives.config import ObjectivesConfig
from videobert_jax.sharding.mesh import MeshConfig
from videobert_jax.training.config import InitConfig, OptimizerConfig, TrainingConfig


class ConfigError(ValueError):
    """A setting that does not exist, has the wrong type or contradicts another."""


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """All settings of a run."""

    name: str
    seed: int
    platform: str
    exact: bool
    deterministic: bool
    data: DataConfig
    model: ModelConfig
    objectives: ObjectivesConfig
    optimizer: OptimizerConfig
    training: TrainingConfig
    mesh: MeshConfig
    init: InitConfig
    stages: tuple["RunConfig", ...]  # training.num_steps: a stage's own; it has no stages itself

    def in_stages(self) -> dict[str, "RunConfig"]:
        """The stages by name, in their order; the run itself, without a name, where it has none."""
        named = {f"stages.{number}": stage for number, stage in enumerate(self.stages)}
        return named or {"": self}

    @property
    def captioning_inputs(self) -> str | None:
        """What the decoder reads where it learns last, None where it never does."""
        found = [part.objectives.captioning for part in self.in_stages().values()]
        return next((of.inputs for of in reversed(found) if of.weight > 0), None)

    @property
    def taught_heads(self) -> set[str]:
        """Modules of `objectives.HEADS` that an objective teaches, in some stage."""
        return {
            head
            for part in self.in_stages().values()
            for name, head in objectives.HEADS.items()
            if part.objectives.weights()[name] > 0
            and head not in module_names(part.optimizer.frozen, part.model.modules)
        }


def check_stages(run: RunConfig) -> None:
    """Raises ConfigError where stages and the run do not add up."""
    steps = [stage.training.num_steps for stage in run.stages]
    if steps and sum(steps) != run.training.num_steps:
        raise ConfigError(
            f"the stages have {' + '.join(map(str, steps))} = {sum(steps)} steps, but "
            f"training.num_steps={run.training.num_steps}; change one or the other."
        )
    parts = run.in_stages().values()
    used = {s.name for part in parts for s in part.data.sources if s.weight > 0}
    for source in run.data.sources:
        if source.name not in used:
            raise ConfigError(
                f"data.sources.{source.name}.weight is 0{' in every stage' if steps else ''}; "
                "remove the source to switch it off."
            )
    if any(_decoder_settings(run).values()) and not any(
        part.objectives.captioning.weight for part in parts
    ):
        found = " and ".join(f"{name}={value}" for name, value in _decoder_settings(run).items())
        raise ConfigError(
            f"objectives.captioning.weight is 0{' in every stage' if steps else ''}, but {found}: "
            "nothing would use them; set all three, or all to 0."
        )


def check_together(run: RunConfig) -> None:
    """Raises ConfigError on settings of several groups that contradict each other."""
    _check_heads(run)
    if run.model.attention == "lengths" and run.data.examples_per_row > 1:
        raise ConfigError(
            "model.attention='lengths' is for rows of one example, found data.examples_per_row="
            f"{run.data.examples_per_row}; use 'auto', 'dense' or 'kernel', or 1."
        )
    for objective in ("contrastive", "token_contrastive", "captioning"):
        chunks = getattr(run.objectives, objective).chunks
        if run.data.rows % chunks:
            raise ConfigError(
                f"objectives.{objective}.chunks={chunks} does not divide the {run.data.rows} rows "
                "of a block (data.block_size / data.examples_per_row); use a divisor of them."
            )
    negatives = run.objectives.cascade.negatives
    if run.objectives.cascade.weight > 0 and negatives >= run.data.block_size:
        raise ConfigError(
            f"objectives.cascade.negatives={negatives}, but a block has {run.data.block_size} "
            f"examples (data.block_size), one of them the right one; use fewer."
        )
    if run.init.bert_video_layers and run.model.text.input == "bert_vectors":
        raise ConfigError(
            f"init.bert_video_layers={run.init.bert_video_layers}, but with model.text.input="
            "'bert_vectors' the BERT has a width of its own and gives nothing but the text tower's "
            "input; set it to 0."
        )
    if run.init.bert_video_layers > run.model.video.num_layers:
        raise ConfigError(
            f"init.bert_video_layers={run.init.bert_video_layers} is more than "
            f"model.video.num_layers={run.model.video.num_layers}; lower the former."
        )
    _check_exact(run)
    _check_captioning(run)
    _check_frozen(run)
    _check_regimes(run)
    if run.optimizer.warmup_steps >= run.training.num_steps:
        raise ConfigError(
            f"optimizer.warmup_steps={run.optimizer.warmup_steps} is not less than "
            f"num_steps={run.training.num_steps}; shorten the warm-up."
        )
    micro = run.data.blocks_per_batch / run.training.accumulation_steps
    if micro != int(micro):
        raise ConfigError(
            f"data.blocks_per_batch={run.data.blocks_per_batch} is not divisible by "
            f"training.accumulation_steps={run.training.accumulation_steps}; change one of them."
        )


def _check_exact(run: RunConfig) -> None:
    """Raises ConfigError where a sum over blocks has no tree that all meshes share."""
    if not run.exact:
        return
    blocks = run.data.blocks_per_batch
    if blocks & (blocks - 1):
        near = 1 << blocks.bit_length()
        raise ConfigError(
            f"exact=True sums over blocks by a binary tree, and data.blocks_per_batch={blocks} is "
            f"no power of two; use {near // 2} or {near}, or exact=False."
        )
    require_exact_products(run, run.mesh.tensor)  # what -1 comes to the devices say
    if run.optimizer.shard_over_data:
        raise ConfigError(
            "exact=True with optimizer.shard_over_data=True: an update that is split over data was "
            "seen to have other bits; use optimizer.shard_over_data=False, with mesh.fsdp for "
            "moments that do not fit, or exact=False."
        )


def require_exact_products(run: RunConfig, tensor: int) -> None:
    """Raises ConfigError where an exact run would split products over so many devices."""
    if run.exact and tensor > 1:
        raise ConfigError(
            f"exact=True with mesh.tensor={tensor}: a product that is split over devices is summed "
            "in another order; use mesh.tensor=1 with mesh.fsdp for parameters that do not fit, or "
            "exact=False."
        )


def _check_heads(run: RunConfig) -> None:
    """Raises ConfigError where an objective, its head and its file are not all there."""
    for objective, head, value in (
        ("bag_of_words", "bag_of_words_head", True),
        ("token_contrastive", "token_head", True),
        ("answering", "answers", 1500),
        ("segmentation", "clip_labels", 778),
    ):
        weight = run.objectives.weights()[objective]
        found = getattr(run.model, head)
        if weight > 0 and not found:
            raise ConfigError(
                f"objectives.{objective}.weight={weight} needs model.{head}={value}, found "
                f"{found}; set both, or the weight to 0."
            )
    joined = run.data.drawing.joined_examples
    if run.objectives.answering.weight > 0 and joined > 0:
        raise ConfigError(
            f"objectives.answering.weight={run.objectives.answering.weight} and "
            f"data.drawing.joined_examples={joined}: two questions that are one text have no one "
            "answer; set one of them to 0."
        )
    if bool(run.model.clip_labels) != bool(run.data.clip_labels):
        raise ConfigError(
            f"model.clip_labels={run.model.clip_labels} and data.clip_labels="
            f"{run.data.clip_labels!r}: the head tells so many labels of that kind; set both, or "
            "neither."
        )
    if run.model.token_head != bool(run.data.content_words):
        raise ConfigError(
            f"model.token_head={run.model.token_head} and data.content_words="
            f"{run.data.content_words!r}: the head compares content words, which a file of "
            "content-words names; set both, or neither."
        )
    if (run.model.masked_video_head == "visual_words") != bool(run.data.visual_words):
        raise ConfigError(
            f"model.masked_video_head={run.model.masked_video_head!r} and data.visual_words="
            f"{run.data.visual_words!r}: visual words need a file of fit-visual-words, and the "
            "file needs them; set both, or neither."
        )


def _check_captioning(run: RunConfig) -> None:
    """Raises ConfigError where captions cannot be written, or can be read off."""
    captioning, decoder = run.objectives.captioning, _decoder_settings(run)
    able = {value > 0 for value in decoder.values()}
    if len(able) > 1 or (captioning.weight > 0 and able == {False}):
        settings = {"objectives.captioning.weight": captioning.weight, **decoder}
        found = ", ".join(f"{name}={value}" for name, value in settings.items())
        raise ConfigError(
            f"{found}: captions are learnt by the objective, written by the decoder, and stand in "
            "rows of the target length; set all three, or all to 0."
        )
    masking = run.data.masking
    hides_text = masking.text_rate > 0 or masking.whole_text_examples > 0
    if captioning.weight == 0 or captioning.inputs == "video" or hides_text:
        return
    if shown := [source.name for source in run.data.sources if source.shows_captions]:
        raise ConfigError(
            f"objectives.captioning.inputs={captioning.inputs!r}, data.masking.text_rate=0 and no "
            f"transcripts of data.sources.{shown[0]}: the decoder would read the very caption that "
            f"it has to write; say data.sources.{shown[0]}.transcripts, hide words, or use "
            "inputs='video'."
        )


def _decoder_settings(run: RunConfig) -> dict[str, int]:
    return {
        "model.decoder.num_layers": run.model.decoder.num_layers,
        "data.target_length": run.data.target_length,
    }


def _check_frozen(run: RunConfig) -> None:
    modules = run.model.modules
    try:
        frozen = module_names(run.optimizer.frozen, modules)
    except UnknownModule as error:
        raise ConfigError(f"optimizer.frozen names {error}") from None
    if frozen == set(modules):
        raise ConfigError(
            f"optimizer.frozen={','.join(run.optimizer.frozen)} is all of the network: nothing "
            "would learn; leave out what should."
        )


def _check_regimes(run: RunConfig) -> None:
    """Every objective with a weight needs a source that it can learn from."""
    found = sorted({source.regime for source in run.data.sources if source.weight > 0})
    for name, regimes in objectives.REGIMES.items():
        weight = run.objectives.weights()[name]
        if weight > 0 and not set(found) & set(regimes):
            raise ConfigError(
                f"objectives.{name}.weight={weight} needs a source with the regime "
                f"{' or '.join(regimes)}, found {', '.join(found)}; set the "
                "weight to 0, or give such a source a weight."
            )


def require_extensions(run: RunConfig) -> None:
    """Imports what other packages give, before anything is begun. Raises ConfigError.

    Not a part of `check_together`: settings that are read from a workdir import nothing.
    """
    heads = run.model.extra_heads
    if len(set(heads)) < len(heads):
        raise ConfigError(f"{EXTRA_HEADS_SETTING}={','.join(heads)} names a head twice.")
    try:
        for path in heads:
            extensions.load(path, HEAD_NAMES, EXTRA_HEADS_SETTING)
        for path in run.objectives.extra_weights():
            module = extensions.load(path, objectives.EXTRA_NAMES, objectives.EXTRA_SETTING)
            if all(hasattr(module, name) for name in HEAD_NAMES) and path not in heads:
                raise ConfigError(
                    f"{objectives.EXTRA_SETTING} names {path}, which has a Head of its own, but "
                    f"the network does not have it; say --config.{EXTRA_HEADS_SETTING}={path}."
                )
    except extensions.ExtensionError as error:
        raise ConfigError(str(error)) from None
