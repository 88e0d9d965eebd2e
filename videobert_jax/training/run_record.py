"""What a workdir says of its run beside the checkpoints: its settings, and what its model needs.

config.json      the settings as they were given
run.json         name, versions, compiler flags, resolved model settings, what it was trained on,
                 answers and labels of clips that its heads tell, digests
tokenizer.model  sentencepiece, trained on the run's captions, or taken over: another run's, or the
                 WordPiece of the BERT that the run began with
contract.json    how the clip features were made
"""

import copy
import dataclasses
import fnmatch
import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from videobert_jax import configuration
from videobert_jax.data import config as data_config
from videobert_jax.data.config import DataConfig
from videobert_jax.files import atomic, digests, errors, json_values, storage
from videobert_jax.files import versions as formats
from videobert_jax.models import config as model_config
from videobert_jax.models.config import ModelConfig
from videobert_jax.schema import FeatureContract
from videobert_jax.training import compiler_flags, resume_rules

CONFIG_FILE, RUN_FILE, TOKENIZER_FILE, CONTRACT_FILE = (
    "config.json",
    "run.json",
    "tokenizer.model",
    "contract.json",
)
# Settings that each process may have its own way: where files lie on its disk (the digests of what
# lies there are compared), and how it reads them.
OWN_SETTINGS = (
    "data.path",
    "data.local_copy",
    "data.sources.*.path",
    "data.sources.*.neighbours",
    "data.sources.*.alignment",
    "data.content_words",
    "data.executor",
    "data.workers",
    "data.prefetch",
    "data.parallel_reads",
)
_MISSING = object()
# Settings younger than some workdirs, at the values that do what was done before there were any:
# said or not said is the same.
YOUNGER_SETTINGS: dict[str, Any] = {
    **{f"data.{name}": value for name, value in data_config.YOUNGER.items()},
    **{f"model.{name}": value for name, value in model_config.YOUNGER.items()},
    "model.extra_heads": "",  # a list, which a config has with commas
    "deterministic": False,
    "exact": False,
    "init.visual_word_embeddings": "centroids",
    "objectives.answering.weight": 0.0,
    "objectives.captioning.word_dropout": 0.0,
    "objectives.extra": "",
    "objectives.segmentation.weight": 0.0,
    "optimizer.layer_decay": 1.0,
    "optimizer.frozen": "",
    "optimizer.ema_decay": 0.0,
    "optimizer.shard_over_data": False,
    "optimizer.spike_factor": 20.0,
    "training.max_skipped_updates": 20,
    "training.max_rollbacks": 5,
    "training.step_timeout_seconds": 1800.0,
    "training.eval_tasks": "retrieval",
    "training.best_metric": "",
    "training.best_is_highest": True,
    "stages": [],
    "training.profile_memory_step": 0,
    "training.wandb_project": "",
}
_PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "sentencepiece",
    "tokenizers",
)


FORMAT = 1  # of run.json; those without one are older than the field


class RunRecordError(ValueError):
    """A workdir that is damaged, or that belongs to a run with other settings."""


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """What `read` gives: all of a model but its parameters."""

    name: str
    model: ModelConfig
    data: DataConfig
    tokenizer_model: bytes
    contract: FeatureContract
    trained_on: dict[str, Any]
    answers: tuple[str, ...]
    captioning_inputs: str | None
    clip_labels: tuple[str, ...]


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a result."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        found[package] = importlib.metadata.version(package)
    return found


def binding_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that a resumed run must share: all that decide its parameters."""
    return {
        key: value
        for key, value in configuration.flat_settings(config).items()
        if resume_rules.rule_of(key).kind is resume_rules.Kind.MUST_MATCH
        and not is_younger_default(key, value)
    }


def fingerprint(config: Mapping[str, Any]) -> str:
    """sha256 of the binding settings."""
    return digests.sha256_json(binding_settings(config))


def write(
    workdir: storage.Path,
    config: dict[str, Any],
    *,
    model: ModelConfig,
    contract: FeatureContract,
    trained_on: dict[str, Any],
    answers: Sequence[str],
    clip_labels: Sequence[str],
) -> None:
    """Writes contract.json, run.json and config.json; tokenizer.model must be there. Before a step
    is saved none of them is read but config.json, which therefore comes last."""
    tokenizer_sha256 = digests.sha256_bytes((workdir / TOKENIZER_FILE).read_bytes())
    atomic.write_json(workdir / CONTRACT_FILE, contract.to_json())
    atomic.write_json(
        workdir / RUN_FILE,
        {
            "format": FORMAT,
            "name": config["name"],
            "versions": versions(),
            "compiler_flags": compiler_flags.said(),
            "model": dataclasses.asdict(model),
            "trained_on": trained_on,
            "answers": list(answers),
            "clip_labels": list(clip_labels),
            "tokenizer_sha256": tokenizer_sha256,
            "contract_sha256": digests.sha256_json(contract.to_json()),
        },
    )
    atomic.write_json(workdir / CONFIG_FILE, config)


def update_settings(workdir: storage.Path, config: dict[str, Any]) -> None:
    """Writes config.json anew: settings that may differ are those of the last start."""
    atomic.write_json(workdir / CONFIG_FILE, config)


def update_model(workdir: storage.Path, model: ModelConfig, trained_on: Mapping[str, Any]) -> None:
    """Writes into run.json what a start with other settings or data makes of the model: its
    settings, and what it is trained on besides. Raises RunRecordError."""
    fields = read_json(workdir / RUN_FILE)
    changed = {"model": dataclasses.asdict(model), "trained_on": trained_since(fields, trained_on)}
    atomic.write_json(workdir / RUN_FILE, {**fields, **changed})


def trained_since(fields: Mapping[str, Any], trained_on: Mapping[str, Any]) -> dict[str, Any]:
    """What a run was trained on by its run.json, and what a start of it is trained on besides."""
    before = fields["trained_on"]
    known = {(entry["digest"], entry["split"]) for entry in before["datasets"]}  # wherever it lies
    new = [e for e in trained_on["datasets"] if (e["digest"], e["split"]) not in known]
    joined = {**before, "datasets": [*before["datasets"], *new]}
    for key in ("video_names", "heads"):
        if key in before:  # heads are younger than some runs, of which they are not known
            joined[key] = sorted({*before[key], *trained_on[key]})
    return joined


def read_settings(workdir: storage.Path) -> dict[str, Any]:
    """The settings of a workdir's last start. Raises RunRecordError."""
    return read_json(workdir / CONFIG_FILE)


def run_config(workdir: storage.Path) -> configuration.RunConfig:
    """The settings of a workdir's last start, parsed. Raises RunRecordError, ConfigError."""
    with errors.of_form(workdir / CONFIG_FILE, RunRecordError, "put the run's own file back"):
        settings = _with_younger_settings(read_settings(workdir))
        return configuration.parse_settings(settings)


def read(workdir: storage.Path) -> RunRecord:
    """Record of a workdir, its parts compared with their digests. Raises RunRecordError."""
    with errors.of_form(workdir, RunRecordError, "put the run's own files back"):
        return _read(workdir)


def _read(workdir: storage.Path) -> RunRecord:
    fields = read_json(workdir / RUN_FILE)
    require_format(workdir / RUN_FILE, fields, FORMAT)
    contract = read_json(workdir / CONTRACT_FILE)
    try:
        tokenizer_model = (workdir / TOKENIZER_FILE).read_bytes()
    except OSError as error:
        raise RunRecordError(f"{workdir / TOKENIZER_FILE}: cannot be read ({error}).") from error
    try:
        for file, found, expected in (
            (TOKENIZER_FILE, digests.sha256_bytes(tokenizer_model), fields["tokenizer_sha256"]),
            (CONTRACT_FILE, digests.sha256_json(contract), fields["contract_sha256"]),
        ):
            if found != expected:
                raise RunRecordError(
                    f"{workdir / file}: sha256 {found}, but {RUN_FILE} says {expected}: damaged or "
                    "replaced; put the run's own file back."
                )
        run = run_config(workdir)
        resolved = model_config.YOUNGER | fields["model"]
        model = configuration.from_fields(ModelConfig, resolved, "run.json model")
        return RunRecord(
            name=fields["name"],
            model=model,
            data=run.data,
            tokenizer_model=tokenizer_model,
            contract=FeatureContract.from_json(contract),
            trained_on=fields["trained_on"],
            answers=tuple(fields.get("answers", ())),  # there were none yet
            captioning_inputs=run.captioning_inputs,
            clip_labels=tuple(fields.get("clip_labels", ())),
        )
    except KeyError as error:
        raise RunRecordError(
            f"{workdir / RUN_FILE}: has no field {error}; it is damaged."
        ) from error


def _with_younger_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Settings with those that there were none of when they were written."""
    completed = copy.deepcopy(config)
    for key, value in YOUNGER_SETTINGS.items():
        *groups, name = key.split(".")
        node = completed
        for group in groups:
            node = node.setdefault(group, {})
        node.setdefault(name, value)
    completed["data"] = data_config.with_younger(completed["data"])
    return completed


def is_younger_default(key: str, value: Any) -> bool:
    """Whether a setting is younger than some workdirs, at the value that it has where not said."""
    group, _, name = key.rpartition(".")
    if fnmatch.fnmatchcase(group, "data.sources.*"):
        return value == data_config.YOUNGER_OF_SOURCES.get(name, _MISSING)
    return value == YOUNGER_SETTINGS.get(key, _MISSING)


def require_format(path: storage.Path, fields: Mapping[str, Any], known: int) -> None:
    """Raises RunRecordError where a file of a workdir was written by a newer version."""
    found = fields.get("format", 1)
    if found != known:
        raise RunRecordError(f"{path}: {formats.refusal(found, known)}")


def read_json(path: storage.Path) -> dict[str, Any]:
    """The object of a file of a workdir. Raises RunRecordError."""
    try:
        fields = json_values.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunRecordError(
            f"{path}: missing; expected the workdir of a run of train.py. Put the file back."
        ) from None
    except (OSError, ValueError) as error:
        raise RunRecordError(
            f"{path}: cannot be read ({error}); put the run's own back."
        ) from error
    if not isinstance(fields, dict):
        raise RunRecordError(f"{path}: expected a JSON object, found {type(fields).__name__}.")
    return fields
