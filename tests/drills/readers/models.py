"""Weights, exports, the records of runs, and settings."""

import contextlib
import dataclasses
import functools
import json
import pathlib
import random
import shutil
from typing import Any

import numpy as np

from configs import tiny
from tests import berts, bundles, fakes
from tests.drills.readers import Reader
from videobert_jax import configuration
from videobert_jax.export import errors as export_errors
from videobert_jax.export import manifest as export_manifest
from videobert_jax.export import safetensors as exported
from videobert_jax.files import digests
from videobert_jax.files.errors import ArrayFileError
from videobert_jax.run_config import ConfigError
from videobert_jax.schema import ContractMismatch
from videobert_jax.text.errors import TokenizerError
from videobert_jax.training import (
    changed_settings,
    checkpoint_folder,
    goodput,
    lease,
    manifest,
    rollback,
    run_record,
    wall_time,
)
from videobert_jax.video import visual_words
from videobert_jax.weights import bert
from videobert_jax.weights.errors import WeightsError


@functools.cache
def _run() -> configuration.RunConfig:
    return configuration.parse(tiny.get_config())


def _bert(folder: pathlib.Path) -> None:
    berts.write(folder, weights=berts.tensors(head=True))


def _read_bert(folder: pathlib.Path) -> None:
    run = _run()
    config = configuration.resolve_model(run, vocabulary_size=300, feature_dim=fakes.FEATURE_DIM)
    network = dataclasses.replace(config, norm="post", norm_epsilon=1e-12)
    bert.load(folder, network, 1)


def _export(folder: pathlib.Path) -> None:
    exported.save_bundle(bundles.tiny(_run()), folder / "export", card="")


def _sign_export(folder: pathlib.Path, draw: random.Random) -> None:
    file = folder / "export" / exported.CONFIG_FILE
    config = json.loads(file.read_text())
    for name in config["files"]:
        config["files"][name] = export_manifest.identity(folder / "export" / name)
    file.write_text(json.dumps(config))


def _read_export(folder: pathlib.Path) -> None:
    exported.verify(folder / "export")
    exported.load_bundle(folder / "export")


def _visual_words(folder: pathlib.Path) -> None:
    levels = tuple(np.ones((2**level, fakes.FEATURE_DIM), np.float32) for level in (1, 2))
    centre = np.zeros(fakes.FEATURE_DIM, np.float32)
    words = visual_words.VisualWords(2, centre, levels, fakes.CONTRACT, {"dataset": "x"})
    visual_words.save(folder / "words.safetensors", words)


def _workdir(folder: pathlib.Path) -> None:
    """What of a workdir's small files is read when a run goes on, or a model is loaded."""
    bundle = bundles.tiny(_run())
    config = configuration.to_json(tiny.get_config())
    (folder / run_record.TOKENIZER_FILE).write_bytes(bundle.tokenizer_model)
    contract = bundle.contract.to_json()
    (folder / run_record.CONTRACT_FILE).write_text(json.dumps(contract))
    (folder / run_record.CONFIG_FILE).write_text(json.dumps(config))
    record = {
        "name": "tiny",
        "tokenizer_sha256": digests.sha256_bytes(bundle.tokenizer_model),
        "contract_sha256": digests.sha256_json(contract),
        "model": dataclasses.asdict(bundle.config),
        "trained_on": bundle.trained_on,
    }
    (folder / run_record.RUN_FILE).write_text(json.dumps(record))


def _checkpoint(folder: pathlib.Path) -> None:
    piece = manifest.Piece((0, 0), (8, 12), "ab")
    leaves = {"params/kernel": manifest.Leaf((8, 12), "bfloat16", (piece,))}
    written = manifest.Manifest(
        3, leaves, data_sha256="d", config_sha256="c", versions={"jax": "1"}
    )
    manifest.write(folder / "3.json", written)


def _rollbacks(folder: pathlib.Path) -> None:
    fields = {field.name: 1 for field in dataclasses.fields(rollback.Rollback)}
    fields |= {
        "positions": [{"main": [1, 2]}],
        "reason": "bad",
        "time": "now",
        "deleted_steps": [3],
        "left_out": [[1, 2]],
        "finished": True,
    }
    (folder / rollback.ROLLBACKS_FILE).write_text(json.dumps({"rollbacks": [fields]}))
    best = {"step": 3, "metric": "retrieval/R@1", "value": 0.5, "highest": True}
    (folder / checkpoint_folder.BEST_FILE).write_text(json.dumps(best))


def _read_rollbacks(folder: pathlib.Path) -> None:
    rollback.recorded(folder)
    checkpoint_folder.read_best(folder)


def _history(folder: pathlib.Path) -> None:
    """What starts after the first say of themselves."""
    config = configuration.to_json(tiny.get_config())
    (folder / run_record.CONFIG_FILE).write_text(json.dumps(config))
    config["optimizer"]["learning_rate"] *= 2
    accepted = changed_settings.accept(folder, config, ["optimizer.learning_rate"])
    changed_settings.record(folder, accepted, 3, ["sources.0.digest: other"])
    with contextlib.closing(goodput.Goodput(wall_time.WallTime(1.0))) as times:
        times.open(lease.take(folder))
        times.saved(2)
    shutil.rmtree(folder / lease.LEASES)


def _read_history(folder: pathlib.Path) -> None:
    config = configuration.to_json(tiny.get_config())
    for change in changed_settings.accept(folder, config).said():
        assert change
    found = goodput.read(folder)
    if found is not None:
        wall_time.shares(found["seconds"])


def _settings(folder: pathlib.Path) -> None:
    (folder / "config.json").write_text(json.dumps(configuration.to_json(tiny.get_config())))
    (folder / "flags.txt").write_text("data.path=x\noptimizer.learning_rate=1e-3\nseed=4\n")


def _read_settings(folder: pathlib.Path) -> Any:
    """Settings as a run's config.json has them; and flags over the config, as text."""
    run_record.run_config(folder)
    config = tiny.get_config()
    for flag in (folder / "flags.txt").read_text(errors="replace").split("\n"):
        key, _, text = flag.partition("=")
        if key:
            configuration.apply_override(config, key, text)
    configuration.parse(config)


_EXPORT = (export_errors.ExportError, ConfigError, ContractMismatch, TokenizerError)
_RUN = (run_record.RunRecordError, ConfigError, ContractMismatch)
READERS = [
    Reader(
        "bert",
        ("weights.bert", "files.tensors"),
        _bert,
        _read_bert,
        (WeightsError, TokenizerError, ArrayFileError),
    ),
    Reader("export", ("export.safetensors", "export.manifest"), _export, _read_export, _EXPORT),
    Reader(
        "export_signed",
        ("export.safetensors", "export.manifest"),
        _export,
        _read_export,
        _EXPORT,
        sign=_sign_export,
    ),
    Reader(
        "visual_words",
        ("video.visual_words",),
        _visual_words,
        lambda folder: visual_words.load(folder / "words.safetensors"),
        (visual_words.VisualWordsError, ContractMismatch),
    ),
    Reader("workdir", ("training.run_record",), _workdir, run_record.read, _RUN),
    Reader(
        "checkpoint_manifest",
        ("training.manifest",),
        _checkpoint,
        lambda folder: manifest.read(folder / "3.json"),
        (manifest.ManifestError,),
    ),
    Reader(
        "rollbacks",
        ("training.rollback", "training.checkpoint_folder"),
        _rollbacks,
        _read_rollbacks,
        (rollback.RollbackError, checkpoint_folder.CheckpointError),
    ),
    Reader(
        "run_history",
        ("training.changed_settings", "training.goodput"),
        _history,
        _read_history,
        (run_record.RunRecordError,),
    ),
    Reader("settings", ("configuration",), _settings, _read_settings, _RUN, named=("--config.",)),
]
