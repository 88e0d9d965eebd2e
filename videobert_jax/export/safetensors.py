"""An export: a folder that holds a trained model and everything needed to use it.

DIR/model.safetensors   parameters and constants, float32, layers unstacked (export/names.py)
DIR/tokenizer.model     sentencepiece model, or word pieces as JSON
DIR/contract.json       how the clip features have to be made
DIR/config.json         network, input statistics, what it was trained on, sizes and sha256 of
                        the other files; written last
"""

import dataclasses
import json
import os
import pathlib
import shutil
import tempfile
from typing import Any

import numpy as np
import safetensors.numpy

from videobert_jax import configuration, schema
from videobert_jax.data import config as data_config
from videobert_jax.data.config import DataConfig
from videobert_jax.export import names
from videobert_jax.files import atomic, digests, storage, tensors
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
_FILES = (WEIGHTS_FILE, TOKENIZER_FILE, CONTRACT_FILE, CONFIG_FILE)  # in the order of writing


class ExportError(ValueError):
    """A folder that is no export, is a damaged one, or must not be overwritten."""


def save_bundle(bundle: ModelBundle, output: str | os.PathLike, *, force: bool = False) -> bool:
    """Writes an export, all of it or nothing; False where `output` holds this export already.

    Raises ExportError where `output` holds something else: another export is replaced with
    `force`, any other folder never.
    """
    output = storage.path(output)
    storage.require_access(output)
    storage.make_folder(output.parent)
    temporary = pathlib.Path(tempfile.gettempdir(), f"export-{os.getpid()}")
    if isinstance(output, pathlib.Path):  # beside it, to be renamed
        temporary = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        _write(bundle, temporary)
        if output.exists():
            if _same(output, temporary):
                return False
            _require_replaceable(output, force)
        if isinstance(output, pathlib.Path):
            _move(temporary, output)
        else:
            _upload(temporary, output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


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
            for file in _FILES:
                storage.download(folder / file, copied / file)
            return _load(copied)
        except (ExportError, FileNotFoundError) as error:
            raise ExportError(str(error).replace(name, str(folder))) from error


def _load(folder: pathlib.Path) -> ModelBundle:
    config = read_config(folder)
    _verify_files(folder, config)
    fields = model_config.YOUNGER | config["model"]
    model = configuration.from_fields(ModelConfig, fields, f"{folder}/{CONFIG_FILE}:model")
    fields = data_config.YOUNGER | config["data"]
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
    variables = names.stack(arrays, model, str(folder / WEIGHTS_FILE))
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
    version = config.get("format_version")
    if config.get("format") == FORMAT and isinstance(version, int) and version > FORMAT_VERSION:
        raise ExportError(
            f"{file}: version {version} of the format, newer than the {FORMAT_VERSION} that this "
            "videobert-jax reads; install a newer videobert-jax."
        )
    if config.get("format") != FORMAT or config.get("format_version") != FORMAT_VERSION:
        raise ExportError(
            f"{file}: format {config.get('format')!r} version {config.get('format_version')!r}, "
            f"expected {FORMAT!r} version {FORMAT_VERSION}; export the checkpoint anew."
        )
    wanted = {"name", "step", "digest", "model", "data", "statistics", "trained_on", "files"}
    if missing := sorted(wanted - set(config)):
        raise ExportError(f"{file}: the fields {missing} are missing; export the checkpoint anew.")
    return config


def read_tensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Tensors of a safetensors file by name, its header compared with its size before reading.

    Raises ExportError where the file is damaged.
    """
    try:
        return tensors.read(path)
    except ArrayFileError as error:
        raise ExportError(f"{error}. Copy the folder anew, or export anew.") from error


def _write(bundle: ModelBundle, folder: pathlib.Path) -> None:
    arrays = names.unstack(bundle.variables)
    # One entry, since the library writes several in any order, and equal exports are equal files.
    metadata = {"checkpoint_digest": bundle.digest}
    atomic.write_bytes(folder / WEIGHTS_FILE, safetensors.numpy.save(arrays, metadata))
    atomic.write_bytes(folder / TOKENIZER_FILE, bundle.tokenizer_model)
    atomic.write_json(folder / CONTRACT_FILE, bundle.contract.to_json())
    statistics = bundle.variables["constants"]["video_embedding"]
    config = {
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
        "files": {
            name: {
                "sha256": digests.sha256_file(folder / name),
                "bytes": (folder / name).stat().st_size,
            }
            for name in (WEIGHTS_FILE, TOKENIZER_FILE, CONTRACT_FILE)
        },
        # float64 holds every float32 exactly, and JSON's decimals hold every float64
        "statistics": {
            name: np.asarray(statistics[name], np.float64).tolist() for name in ("mean", "scale")
        },
    }
    atomic.write_json(folder / CONFIG_FILE, config)


def _same(output: storage.Path, made: pathlib.Path) -> bool:
    """Whether `output` is a whole export equal to the one just made, file by file."""
    return all(
        (output / name).is_file()
        and digests.sha256_file(output / name) == digests.sha256_file(made / name)
        for name in reversed(_FILES)  # config.json, which has the digests of the others, first
    )


def _require_replaceable(output: storage.Path, force: bool) -> None:
    if output.is_dir() and not any(output.iterdir()):
        return
    if not (output / CONFIG_FILE).is_file() or not (output / WEIGHTS_FILE).is_file():
        raise ExportError(f"{output}: exists and is no export; give another --output.")
    foreign = sorted(path.name for path in output.iterdir() if path.name not in _FILES)
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


def _upload(made: pathlib.Path, output: storage.Path) -> None:
    """Puts the files of a new export in place of an old one's; without config.json it is none."""
    if (output / CONFIG_FILE).exists():
        storage.remove(output / CONFIG_FILE)
    for name in _FILES:
        storage.upload(made / name, output / name)


def _verify_files(folder: pathlib.Path, config: dict[str, Any]) -> None:
    for name in (WEIGHTS_FILE, TOKENIZER_FILE, CONTRACT_FILE):
        file, expected = folder / name, config["files"].get(name, {})
        if not file.is_file():
            raise ExportError(f"{file}: missing; copy the whole folder, or export anew.")
        size = file.stat().st_size
        if size != expected.get("bytes"):
            raise ExportError(
                f"{file}: {size} bytes, expected {expected.get('bytes')}; the file was cut or "
                "replaced: copy the whole folder anew, or export anew."
            )
        if digests.sha256_file(file) != expected.get("sha256"):
            raise ExportError(
                f"{file}: its sha256 is not the one in {CONFIG_FILE}; the file was damaged or "
                "replaced: copy the whole folder anew, or export anew."
            )


def _read_json(path: storage.Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{path}: not readable as JSON ({error}); export anew.") from error
    if not isinstance(value, dict):
        raise ExportError(f"{path}: expected a JSON object; export anew.")
    return value
