"""From ConfigDict at the edge to frozen settings inside: the one door to configs."""

import dataclasses
import difflib
import importlib.util
import json
import pathlib
import sys
import typing
from typing import Any

import ml_collections

from videobert_jax.data.config import DataConfig
from videobert_jax.models.config import ModelConfig, UnknownModule, module_names
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
    data: DataConfig
    model: ModelConfig
    objectives: ObjectivesConfig
    optimizer: OptimizerConfig
    training: TrainingConfig
    mesh: MeshConfig
    init: InitConfig


def load_file(path: str) -> ml_collections.ConfigDict:
    """ConfigDict of a Python file with `get_config()`. Raises ConfigError."""
    file = pathlib.Path(path)
    if not file.is_file():
        raise ConfigError(
            f"--config={path}: there is no such file; say one of configs/, e.g. configs/kitchen.py."
        )
    root = str(file.resolve().parent.parent)
    if root not in sys.path:  # a config imports its base as `configs.base`
        sys.path.insert(0, root)
    spec = importlib.util.spec_from_file_location(f"config_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"--config={path}: not a Python file; its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise ConfigError(f"--config={path}: the file has no function get_config().")
    return module.get_config()


def apply_override(config: ml_collections.ConfigDict, key: str, text: str) -> None:
    """Sets `key` ("data.path") to `text`, read as the type it has. Raises ConfigError."""
    *parents, leaf = key.split(".")
    node: Any = config
    for depth, name in enumerate([*parents, leaf]):
        if not isinstance(node, ml_collections.ConfigDict) or name not in node:
            raise _unknown_key(config, key)
        if depth < len(parents):
            node = node[name]
    current = node[leaf]
    if isinstance(current, ml_collections.ConfigDict):
        fields = ", ".join(f"--config.{key}.{name}" for name in current)
        raise ConfigError(f"--config.{key} is a group of settings; say one of {fields}.")
    node[leaf] = _converted(key, text, current)


def _converted(key: str, text: str, current: Any) -> Any:
    kind = type(current)
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        return kind(text)
    except (ValueError, KeyError):
        raise ConfigError(
            f"--config.{key}={text!r}: expected {kind.__name__}, such as {current!r}."
        ) from None


def _unknown_key(config: ml_collections.ConfigDict, key: str) -> ConfigError:
    known = list(_flat_keys(config))
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
    hint = f"; the nearest is --config.{near[0]}" if near else ""
    return ConfigError(f"--config.{key}: there is no such setting{hint}.")


def _flat_keys(config: ml_collections.ConfigDict, prefix: str = ""):
    for name, value in config.items():
        if isinstance(value, ml_collections.ConfigDict):
            yield from _flat_keys(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def parse(config: ml_collections.ConfigDict) -> RunConfig:
    """Frozen settings, every field checked for presence and type. Raises ConfigError."""
    fields = to_json(config)
    data = fields.get("data")
    if isinstance(data, dict) and isinstance(data.get("sources"), dict):
        data["sources"] = [{"name": name, **rest} for name, rest in data["sources"].items()]
        if not data["sources"]:
            raise ConfigError("data.sources is empty; a run needs one source or more.")
    for group, name in (("init", "modules"), ("optimizer", "frozen")):
        settings = fields.get(group)
        if isinstance(settings, dict) and isinstance(listed := settings.get(name), str):
            settings[name] = [part.strip() for part in listed.split(",") if part.strip()]
    run = from_fields(RunConfig, fields, "config")
    _check_together(run)
    return run


def _check_together(run: RunConfig) -> None:
    """Raises ConfigError on settings of several groups that contradict each other."""
    for objective, head in (
        ("bag_of_words", "bag_of_words_head"),
        ("token_contrastive", "token_head"),
    ):
        weight = run.objectives.weights()[objective]
        if weight > 0 and not getattr(run.model, head):
            raise ConfigError(
                f"objectives.{objective}.weight={weight} needs model.{head}=True, found False; set "
                "both, or the weight to 0."
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
    if run.model.attention == "lengths" and run.data.examples_per_row > 1:
        raise ConfigError(
            "model.attention='lengths' is for rows of one example, found data.examples_per_row="
            f"{run.data.examples_per_row}; use 'auto', 'dense' or 'kernel', or 1."
        )
    for objective in ("contrastive", "token_contrastive"):
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
    _check_frozen(run)
    micro = run.data.blocks_per_batch / run.training.accumulation_steps
    if micro != int(micro):
        raise ConfigError(
            f"data.blocks_per_batch={run.data.blocks_per_batch} is not divisible by "
            f"training.accumulation_steps={run.training.accumulation_steps}; change one of them."
        )


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


def to_json(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """The settings as a JSON object; `ConfigDict(to_json(config))` gives them back."""
    return json.loads(config.to_json())


def from_fields(kind: type, fields: Any, path: str) -> Any:
    """Instance of a settings dataclass from JSON values, nested. Raises ConfigError."""
    if not isinstance(fields, dict):
        raise ConfigError(f"{path}: expected a group of settings, found {fields!r}.")
    types = typing.get_type_hints(kind)
    missing, extra = set(types) - set(fields), set(fields) - set(types)
    if missing or extra:
        raise ConfigError(
            f"{path}: settings missing: {sorted(missing)}; unknown: {sorted(extra)}. "
            "configs/base.py lists all of them."
        )
    values = {
        name: _value_of(types[name], value, f"{path}.{name}") for name, value in fields.items()
    }
    try:
        return kind(**values)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _value_of(kind: Any, value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return from_fields(typing.cast(type, kind), value, path)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{path}: expected a list, found {value!r}.")
        item = typing.get_args(kind)[0]
        return tuple(_value_of(item, entry, f"{path}[{i}]") for i, entry in enumerate(value))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"{path}: expected {kind.__name__}, found {value!r}.")
    return value


def resolve_model(run: RunConfig, *, vocabulary_size: int, feature_dim: int) -> ModelConfig:
    """Model settings with the tokenizer's vocabulary, padded to 128, and the dataset's features.

    Raises ConfigError where a number set in the config contradicts them, or where rows are longer
    than the model has positions.
    """
    padded = -(-vocabulary_size // 128) * 128  # whole tiles of a matrix unit
    model = run.model
    if model.text.vocabulary_size not in (0, padded):
        raise ConfigError(
            f"model.text.vocabulary_size={model.text.vocabulary_size}, but the tokenizer has "
            f"{vocabulary_size} pieces, {padded} when padded to 128; set it to 0 or to {padded}."
        )
    if model.video.feature_dim not in (0, feature_dim):
        raise ConfigError(
            f"model.video.feature_dim={model.video.feature_dim}, but the dataset's clip features "
            f"have {feature_dim} dimensions; set it to 0 or to {feature_dim}."
        )
    for side, length, maximum in (
        ("text", run.data.text_length, model.text.max_length),
        ("video", run.data.video_length, model.video.max_length),
    ):
        if length > maximum:
            raise ConfigError(
                f"data.{side}_length={length} is more than model.{side}.max_length={maximum}; "
                "raise the latter."
            )
    return dataclasses.replace(
        model,
        text=dataclasses.replace(model.text, vocabulary_size=padded),
        video=dataclasses.replace(model.video, feature_dim=feature_dim),
    )


def model_on(run: RunConfig, model: ModelConfig, platform: str) -> ModelConfig:
    """Settings of the network as it is trained on devices of the platform ("cpu", "gpu", "tpu").

    Raises ConfigError where they ask for what it does not have.
    """
    try:
        return model.on(platform, max(run.data.text_length, run.data.video_length))
    except ValueError as error:
        raise ConfigError(str(error)) from None
