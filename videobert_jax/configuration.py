"""From ConfigDict at the edge to frozen settings inside: the one door to configs."""

import copy
import dataclasses
import difflib
import fnmatch
import importlib.util
import json
import pathlib
import sys
import typing
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from videobert_jax.models.config import ModelConfig
from videobert_jax.run_config import (
    ConfigError,
    RunConfig,
    check_stages,
    check_together,
    require_exact_products,
    require_extensions,
)

if TYPE_CHECKING:
    import ml_collections  # of the config files; settings of an export are JSON

# Settings that may differ from stage to stage; all others are the run's.
STAGE_SETTINGS = (
    "optimizer.*",
    "objectives.*",
    "data.blocks_per_batch",
    "data.drawing.*",
    "data.masking.*",
    "data.sources.*.weight",
    "training.accumulation_steps",
)
# Settings that are lists, with commas on the command line.
_LISTS = (
    ("init", "modules"),
    ("model", "extra_heads"),
    ("objectives", "extra"),
    ("optimizer", "frozen"),
    ("training", "eval_tasks"),
)


def load_file(path: str) -> "ml_collections.ConfigDict":
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


def apply_override(config: "ml_collections.ConfigDict", key: str, text: str) -> None:
    """Sets `key` ("data.path") to `text`, read as the type it has. Raises ConfigError."""
    *parents, leaf = key.split(".")
    node: Any = config
    for name in parents:
        node = _child(node, name)
    current = _child(node, leaf)
    if current is None or isinstance(node, tuple):
        raise _unknown_key(to_json(config), key)
    if isinstance(current, tuple):
        raise ConfigError(
            f"--config.{key} is a list of {len(current)} groups of settings; a config file makes "
            f"it, and --config.{key}.0.NAME=VALUE changes a setting of one."
        )
    if _is_group(current):
        fields = ", ".join(f"--config.{key}.{name}" for name in current)
        raise ConfigError(f"--config.{key} is a group of settings; say one of {fields}.")
    node[leaf] = _converted(key, text, current)


def _child(node: Any, name: str) -> Any:
    """What a group has by name, or a list of groups by number; None where there is nothing."""
    if isinstance(node, tuple):
        return node[int(name)] if name.isdigit() and int(name) < len(node) else None
    return node[name] if _is_group(node) and name in node else None


def _is_group(node: Any) -> bool:
    import ml_collections

    return isinstance(node, ml_collections.ConfigDict)


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


def _unknown_key(fields: dict[str, Any], key: str) -> ConfigError:
    near = difflib.get_close_matches(key, flat_settings(fields), n=1, cutoff=0.0)
    hint = f"; the nearest is --config.{near[0]}" if near else ""
    return ConfigError(f"--config.{key}: there is no such setting{hint}.")


def flat_settings(fields: Any, prefix: str = "") -> dict[str, Any]:
    """Settings of a JSON object by dotted key; those of a list of groups by their number in it."""
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
            value = {str(number): entry for number, entry in enumerate(value)}
        if isinstance(value, dict):
            flat |= flat_settings(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def settings_but(config: Mapping[str, Any], patterns: Sequence[str]) -> dict[str, Any]:
    """Flat settings of a JSON object, but those whose key fits one of the patterns (fnmatch)."""
    return {
        key: value
        for key, value in flat_settings(config).items()
        if not any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)
    }


def parse(config: "ml_collections.ConfigDict") -> RunConfig:
    """Frozen settings, every field checked for presence and type; imports the modules of other
    packages that they name. Raises ConfigError."""
    run = parse_settings(to_json(config))
    for stage in run.stages or (run,):
        require_extensions(stage)
    return run


def parse_settings(settings: Mapping[str, Any]) -> RunConfig:
    """The same of a JSON object, as `to_json` and a run's config.json have them, without imports:
    a workdir may be anybody's."""
    fields, listed = dict(settings), []
    if isinstance(fields.get("stages"), list):
        listed, fields["stages"] = fields["stages"], []
    run = _run_config(fields)
    if not listed:
        check_together(run)
    stages = tuple(_stage(fields, f"stages.{n}", entry) for n, entry in enumerate(listed))
    run = dataclasses.replace(run, stages=stages)
    check_stages(run)
    return run


def _stage(fields: dict[str, Any], name: str, entry: Any) -> RunConfig:
    """Settings of the run with those of a stage; errors name the stage."""
    if not isinstance(entry, dict) or "steps" not in entry:
        raise ConfigError(
            f"{name}: expected a number of steps and settings, as base.stage(steps, settings) "
            f"makes them, found {entry!r}."
        )
    merged = copy.deepcopy(fields)
    try:
        for key, value in flat_settings(entry).items():
            if key != "steps":
                _change(merged, key, value)
        merged["training"]["num_steps"] = entry["steps"]
        run = _run_config(merged)
        check_together(run)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
    return run


def _change(fields: dict[str, Any], key: str, value: Any) -> None:
    """Changes a setting for a stage. Raises ConfigError where there is none, or it is the run's."""
    *groups, leaf = key.split(".")
    node: Any = fields
    for group in groups:
        node = node.get(group) if isinstance(node, dict) else None
    if not isinstance(node, dict) or leaf not in node:
        raise _unknown_key(fields, key)
    if not any(fnmatch.fnmatchcase(key, pattern) for pattern in STAGE_SETTINGS):
        raise ConfigError(
            f"{key} is the same in the whole run; what a stage may change is steps, "
            f"{', '.join(STAGE_SETTINGS)}."
        )
    node[leaf] = value


def _run_config(fields: dict[str, Any]) -> RunConfig:
    fields = copy.deepcopy(fields)
    data = fields.get("data")
    if isinstance(data, dict) and isinstance(data.get("sources"), dict):
        data["sources"] = [{"name": name, **rest} for name, rest in data["sources"].items()]
        if not data["sources"]:
            raise ConfigError("data.sources is empty; a run needs one source or more.")
    for group, name in _LISTS:
        settings = fields.get(group)
        if isinstance(settings, dict) and isinstance(listed := settings.get(name), str):
            settings[name] = [part.strip() for part in listed.split(",") if part.strip()]
    return from_fields(RunConfig, fields, "config")


def to_json(config: "ml_collections.ConfigDict") -> dict[str, Any]:
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
    for rows, side, length, maximum in (
        ("text", "text", run.data.text_length, model.text.max_length),
        ("video", "video", run.data.video_length, model.video.max_length),
        ("target", "text", run.data.target_length, model.text.max_length),
    ):
        if length > maximum:
            raise ConfigError(
                f"data.{rows}_length={length} is more than model.{side}.max_length={maximum}; "
                "raise the latter."
            )
    return dataclasses.replace(
        model,
        text=dataclasses.replace(model.text, vocabulary_size=padded),
        video=dataclasses.replace(model.video, feature_dim=feature_dim),
    )


def model_on(run: RunConfig, model: ModelConfig, platform: str, tensor: int) -> ModelConfig:
    """Settings of the network as it is trained on devices of the platform ("cpu", "gpu", "tpu"),
    `tensor` of which share its heads.

    Raises ConfigError where they ask for what it does not have.
    """
    require_exact_products(run, tensor)
    try:
        return model.on(platform, max(run.data.text_length, run.data.video_length), tensor)
    except ValueError as error:
        raise ConfigError(str(error)) from None
