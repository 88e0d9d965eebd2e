"""An export: a folder that holds a trained model and everything needed to use it.

DIR/model.safetensors   parameters and constants, float32, layers unstacked (export/names.py)
DIR/tokenizer.model     sentencepiece model, or word pieces as JSON
DIR/contract.json       how the clip features have to be made
DIR/tokenizer_config.json, DIR/tokenizer.json   what other readers ask of it (hugging_face.py)
DIR/README.md           model card; the reader's to edit
DIR/config.json         network, input statistics, what it was trained on, sizes and sha256 of
                        the other files; written last
DIR/encode_*.*, DIR/stablehlo.json, DIR/onnx.json   the encoders as programs (formats.py)
"""

import dataclasses
import functools
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import safetensors.numpy

from videobert_jax import configuration, schema
from videobert_jax.data import config as data_config
from videobert_jax.data.config import DataConfig
from videobert_jax.export import formats as program_formats
from videobert_jax.export import hugging_face, manifest, model_card, names
from videobert_jax.export.errors import ExportError
from videobert_jax.files import atomic, digests, errors, json_values, storage, tensors
from videobert_jax.files.errors import ArrayFileError
from videobert_jax.models import config as model_config
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.models.config import RAW, ModelConfig

FORMAT = "videobert_jax.export"
FORMAT_VERSION = 1
CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE, CONTRACT_FILE = (
    "config.json",
    "model.safetensors",
    "tokenizer.model",
    "contract.json",
)
_READ = (WEIGHTS_FILE, TOKENIZER_FILE, CONTRACT_FILE)  # by load, besides the config
_FOR_OTHERS = (hugging_face.TOKENIZER_FILE, hugging_face.TOKENIZER_CONFIG_FILE)
_OURS = {  # every file that an export may have
    *_READ,
    *_FOR_OTHERS,
    CONFIG_FILE,
    model_card.CARD_FILE,
    *(file for name in program_formats.PROGRAMS for file in program_formats.files_of(name)),
}


def save_bundle(
    bundle: ModelBundle,
    output: str | os.PathLike,
    *,
    force: bool = False,
    formats: Sequence[str] = (),
    card: str | None = None,
) -> list[str]:
    """Writes an export, all of it or nothing; the names of the files written, none where `output`
    holds this export already.

    `formats` are those of `export.formats` to be there besides safetensors: to this very export
    they are added. `card` is the README.md, of `model_card.text` where it is None; one that is
    there already stays without `force`. Raises ExportError where `output` holds something else:
    another export is replaced with `force`, any other folder never; MissingExtra where a format
    needs a package that is not installed.
    """
    program_formats.require(formats)
    output = storage.path(output)
    storage.require_access(output)
    storage.make_folder(output.parent)
    temporary = pathlib.Path(tempfile.gettempdir(), f"export-{os.getpid()}")
    if isinstance(output, pathlib.Path):  # beside it, to be renamed
        temporary = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        made = _write(bundle, temporary, model_card.text(bundle, ()) if card is None else card)
        made += program_formats.write(bundle, temporary, WEIGHTS_FILE, formats)
        if output.exists():
            if _same(output, temporary):
                return _add(temporary, output, made, force)
            _require_replaceable(output, force)
        if isinstance(output, pathlib.Path):
            _move(temporary, output)
        else:
            _upload(temporary, output, made)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return made


def load_bundle(path: str | os.PathLike) -> ModelBundle:
    """The model of an export's folder, its variables NumPy's with the layers stacked.

    Raises ExportError where a file is missing, damaged, or of another format version.
    """
    folder = storage.path(path)
    if isinstance(folder, pathlib.Path):
        return _load(folder)
    storage.require_readable(folder)
    read_config(folder)  # says what there is instead
    with tempfile.TemporaryDirectory(prefix="export-") as name:
        copied = pathlib.Path(name)
        try:
            for file in (*_READ, CONFIG_FILE):
                storage.download(folder / file, copied / file)
            return _load(copied)
        except (ExportError, FileNotFoundError) as error:
            raise ExportError(str(error).replace(name, str(folder))) from error


def _load(folder: pathlib.Path) -> ModelBundle:
    with errors.of_form(folder, ExportError, "export the checkpoint anew"):
        return _verified(folder)


def _verified(folder: pathlib.Path) -> ModelBundle:
    config = read_config(folder)
    _verify_files(folder, config)
    fields = model_config.YOUNGER | config["model"]
    model = configuration.from_fields(ModelConfig, fields, f"{folder}/{CONFIG_FILE}:model")
    _require_agreement(config, model, folder)
    fields = data_config.with_younger(config["data"])
    data = configuration.from_fields(DataConfig, fields, f"{folder}/{CONFIG_FILE}:data")
    contract = schema.FeatureContract.from_json(_read_json(folder / CONTRACT_FILE))
    statistics = {
        name: np.asarray(config["statistics"][name], np.float32) for name in ("mean", "scale")
    }
    for name, values in statistics.items():
        if values.shape != (model.video.feature_dim,):
            raise ExportError(
                f"{folder}/{CONFIG_FILE}: statistics.{name} has {values.size} values, expected "
                f"{model.video.feature_dim}, one a dimension of the clip features; export anew."
            )
    arrays = read_tensors(folder / WEIGHTS_FILE)
    if config.get("network") != _network_digest(config):
        names.require_network(arrays, model, str(folder / WEIGHTS_FILE))
    variables = names.arrange(arrays, np.stack)
    variables["constants"]["video_embedding"] = statistics
    return ModelBundle(
        config=model,
        data=data,
        variables=variables,
        tokenizer_model=(folder / TOKENIZER_FILE).read_bytes(),
        contract=contract,
        trained_on=config["trained_on"],
        answers=tuple(config.get("answers", ())),  # an export without them is older than the head
        clip_labels=tuple(config.get("clip_labels", ())),
        step=config["step"],
        digest=config["digest"],
        weights=config.get("weights", RAW),  # an export without it is older than averages
        name=config["name"],
        captioning_inputs=config.get("captioning_inputs"),  # None of an older export
    )


def read_config(folder: storage.Path) -> dict[str, Any]:
    """config.json of an export. Raises ExportError where it is not one this version reads."""
    file = folder / CONFIG_FILE
    if (folder / "checkpoints").is_dir():
        raise ExportError(
            f"{folder}: the workdir of a run, expected an export; make one with: python -m "
            f"videobert_jax export --checkpoint={folder} --output={folder / 'export'}"
        )
    if not file.is_file():
        raise ExportError(
            f"{folder}: no export, {CONFIG_FILE} is missing; make one with: python -m "
            f"videobert_jax export --checkpoint=WORKDIR --output={folder}"
        )
    config = _read_json(file)
    manifest.require_version(config, FORMAT, FORMAT_VERSION, file)
    wanted = {"name", "step", "digest", "model", "data", "statistics", "trained_on", "files"}
    if missing := sorted(wanted - set(config)):
        raise ExportError(f"{file}: the fields {missing} are missing; export the checkpoint anew.")
    files = config["files"]
    if not (isinstance(files, dict) and all(isinstance(of, dict) for of in files.values())):
        raise ExportError(
            f"{file}: files is {str(files)[:40]!r}, expected the bytes and sha256 of each by its "
            "name; export the checkpoint anew."
        )
    return config


def verify(path: str | os.PathLike) -> list[str]:
    """Reads every file of an export, its programs too; what is wrong, nothing where all is as
    written. Raises ExportError where the folder is none that this version reads."""
    folder = storage.path(path)
    config, wrong = read_config(folder), []
    checks: list[Callable[[], None]] = [
        functools.partial(manifest.require_file, folder / name, expected, CONFIG_FILE)
        for name, expected in config["files"].items()
        if name in _OURS
    ]
    for name in program_formats.PROGRAMS:
        if any((folder / file).exists() for file in program_formats.files_of(name)):
            checks.append(functools.partial(manifest.verify, folder, name))
    for check in checks:
        try:
            check()
        except ExportError as error:
            wrong.append(str(error))
    return wrong


def read_tensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Tensors of a safetensors file by name, its header compared with its size before reading.

    Raises ExportError where the file is damaged.
    """
    try:
        return tensors.read(path)
    except ArrayFileError as error:
        raise ExportError(f"{error}. Copy the folder anew, or export anew.") from error


def _write(bundle: ModelBundle, folder: pathlib.Path, card: str) -> list[str]:
    """Writes what every export has; the names of its files, the config last."""
    arrays = names.unstack(bundle.variables)
    names.require_network(arrays, bundle.config, f"the bundle of {bundle.name}")
    # One entry, since the library writes several in any order, and equal exports are equal files.
    metadata = {"checkpoint_digest": bundle.digest}
    atomic.write_bytes(folder / WEIGHTS_FILE, safetensors.numpy.save(arrays, metadata))
    atomic.write_bytes(folder / TOKENIZER_FILE, bundle.tokenizer_model)
    atomic.write_json(folder / CONTRACT_FILE, bundle.contract.to_json())
    for name, value in hugging_face.tokenizer_files(bundle).items():
        atomic.write_json(folder / name, value)
    digested = sorted(file.name for file in folder.iterdir())
    atomic.write_text(folder / model_card.CARD_FILE, card)
    atomic.write_json(folder / CONFIG_FILE, _config(bundle, folder, digested))
    return [*digested, model_card.CARD_FILE, CONFIG_FILE]


def _config(bundle: ModelBundle, folder: pathlib.Path, digested: Sequence[str]) -> dict[str, Any]:
    """config.json of an export whose other files are written."""
    statistics = bundle.variables["constants"]["video_embedding"]
    config = {
        **hugging_face.config_fields(bundle.config),
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "name": bundle.name,
        "step": bundle.step,
        "digest": bundle.digest,
        "weights": bundle.weights,
        "model": dataclasses.asdict(bundle.config),
        "contract": bundle.contract.to_json(),
        "trained_on": bundle.trained_on,
        "answers": list(bundle.answers),
        "clip_labels": list(bundle.clip_labels),
        "data": dataclasses.asdict(bundle.data),
        "captioning_inputs": bundle.captioning_inputs,
        "files": {name: manifest.identity(folder / name) for name in digested},
        # float64 holds every float32 exactly, and JSON's decimals hold every float64
        "statistics": {
            name: np.asarray(statistics[name], np.float64).tolist() for name in ("mean", "scale")
        },
    }
    return {**config, "network": _network_digest(config)}


def _network_digest(config: dict[str, Any]) -> str:
    """Of the settings of the network and of its weights. An export has it, by which a reader knows
    that writing compared the two: tracing the network to compare them again takes a second."""
    weights = config["files"].get(WEIGHTS_FILE, {}).get("sha256")
    said = json.dumps([config["model"], weights], sort_keys=True)
    return digests.sha256_bytes(said.encode())


def _same(output: storage.Path, made: pathlib.Path) -> bool:
    """Whether `output` is a whole export equal to the one just made, programs and card aside."""
    if not _equal(output / CONFIG_FILE, made / CONFIG_FILE):  # it has the digests of the others
        return False
    return all(
        _equal(output / name, made / name) for name in _read_json(made / CONFIG_FILE)["files"]
    )


def _equal(file: storage.Path, other: pathlib.Path) -> bool:
    return file.is_file() and digests.sha256_file(file) == digests.sha256_file(other)


def _add(made: pathlib.Path, output: storage.Path, files: Sequence[str], force: bool) -> list[str]:
    """Puts what this export lacks or has damaged in its place; the names of those files."""
    differing = [name for name in files if not _equal(output / name, made / name)]
    keeps_card = not force and (output / model_card.CARD_FILE).exists()
    written = [name for name in differing if name != model_card.CARD_FILE or not keeps_card]
    for name in written:
        atomic.write_bytes(output / name, (made / name).read_bytes())
    return written


def _require_replaceable(output: storage.Path, force: bool) -> None:
    if output.is_dir() and not any(output.iterdir()):
        return
    if not (output / CONFIG_FILE).is_file() or not (output / WEIGHTS_FILE).is_file():
        raise ExportError(f"{output}: exists and is no export; give another --output.")
    foreign = sorted(path.name for path in output.iterdir() if path.name not in _OURS)
    if foreign:
        raise ExportError(
            f"{output}: holds {', '.join(foreign[:5])}, which no export wrote and replacing it "
            "would delete; move that away, or give another --output."
        )
    if not force:
        found = _read_json(output / CONFIG_FILE)
        raise ExportError(
            f"{output}: holds another export (step {found.get('step')}, digest "
            f"{str(found.get('digest'))[:12]}); give another --output, or --force to replace it."
        )


def _move(made: pathlib.Path, output: pathlib.Path) -> None:
    """Puts a new folder in place of an old one; a folder can be renamed only onto an empty one."""
    if not output.exists():
        os.replace(made, output)
        return
    old = output.with_name(f".{output.name}.{os.getpid()}.old")
    os.replace(output, old)
    os.replace(made, output)
    shutil.rmtree(old)


def _upload(made: pathlib.Path, output: storage.Path, files: Sequence[str]) -> None:
    """Puts the files of a new export in place of an old one's; without config.json it is none."""
    for name in (CONFIG_FILE, *sorted(_OURS - set(files))):
        if (output / name).exists():
            storage.remove(output / name)
    for name in (*(name for name in files if name != CONFIG_FILE), CONFIG_FILE):
        storage.upload(made / name, output / name)


def _require_agreement(config: dict[str, Any], model: ModelConfig, folder: pathlib.Path) -> None:
    """Raises ExportError where other readers are told something else than `model` says; an older
    export tells them nothing."""
    for name, value in hugging_face.config_fields(model).items():
        if name in config and config[name] != value:
            raise ExportError(
                f"{folder}/{CONFIG_FILE}: {name} is {config[name]!r}, but by its `model` it is "
                f"{value!r}; the file was edited: copy it anew, or export anew."
            )


def _verify_files(folder: pathlib.Path, config: dict[str, Any]) -> None:
    for name in _READ:
        manifest.require_file(folder / name, config["files"].get(name, {}), CONFIG_FILE)


def _read_json(path: storage.Path) -> dict[str, Any]:
    try:
        value = json_values.parse(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{path}: not readable as JSON ({error}); export anew.") from error
    if not isinstance(value, dict):
        raise ExportError(f"{path}: expected a JSON object; export anew.")
    return value
