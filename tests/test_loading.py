"""What a name of a model means, and what is said where it means nothing."""

import json
import pathlib
import shutil

import huggingface_hub
import pytest

import videobert_jax
from tests import bundles
from videobert_jax import loading
from videobert_jax.export import safetensors
from videobert_jax.export.safetensors import ExportError
from videobert_jax.files.extras import MissingExtra
from videobert_jax.inference.model import PretrainedModel
from videobert_jax.training import checkpoint_bundle


@pytest.fixture
def folder(tiny_run, tmp_path) -> pathlib.Path:
    safetensors.save_bundle(bundles.tiny(tiny_run), tmp_path / "export")
    return tmp_path / "export"


def change(folder: pathlib.Path, **fields) -> None:
    file = folder / safetensors.CONFIG_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def test_a_folder_of_an_export_is_loaded(folder):
    model = videobert_jax.load(folder)
    assert isinstance(model, videobert_jax.PretrainedModel) and model.bundle.step == 20
    assert model.trained_on["datasets"][0]["name"] == "tiny"


@pytest.mark.parametrize("name", ["run", "run@40", "run@best"])
def test_a_workdir_is_loaded_by_its_checkpoint(tiny_run, tmp_path, monkeypatch, name):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    asked = []
    made = bundles.tiny(tiny_run)
    monkeypatch.setattr(
        checkpoint_bundle, "load", lambda *given, extra_heads: asked.append(given) or made
    )
    model = PretrainedModel.from_pretrained(f"{tmp_path}/{name}", weights="raw")
    assert asked == [(f"{tmp_path}/{name}", "raw")] and model.bundle is made


def test_a_repository_is_fetched_where_no_folder_is_called_so(folder, tmp_path, monkeypatch):
    """The files of an export, at the revision asked for, and no others."""
    asked = []

    def fetch(name, *, revision, allow_patterns):
        asked.append((name, revision))
        kept = tmp_path / "kept"
        kept.mkdir(exist_ok=True)
        for file in allow_patterns:
            shutil.copy(folder / file, kept / file)
        return str(kept)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    monkeypatch.chdir(tmp_path)
    assert videobert_jax.load("org/tiny-model", revision="v1").bundle.name == "tiny"
    assert asked == [("org/tiny-model", "v1")]
    (tmp_path / "org").mkdir()
    shutil.copytree(folder, tmp_path / "org" / "tiny-model")
    assert videobert_jax.load("org/tiny-model").bundle.name == "tiny" and len(asked) == 1
    with pytest.raises(loading.LoadError, match="a folder, which has no revision 'v1'"):
        videobert_jax.load("org/tiny-model", revision="v1")
    (folder / safetensors.TOKENIZER_FILE).write_bytes(b"another")
    with pytest.raises(ExportError, match="tokenizer.model: 7 bytes, expected"):
        videobert_jax.load("org/other")


def test_a_repository_that_cannot_be_fetched_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(loading.LoadError, match="runs/none: no folder of this name, and no repos"):
        videobert_jax.load("runs/none")

    def missing(module, extra):
        raise MissingExtra(f'install it with: pip install "videobert-jax[{extra}]"')

    monkeypatch.setattr(loading.extras, "require", missing)
    with pytest.raises(MissingExtra, match=r"runs/none: no folder of this name; .*\[hub\]"):
        videobert_jax.load("runs/none")


def test_what_is_no_model_is_said(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    for name, message in {
        tmp_path / "empty": "empty: expected a workdir .* found neither in this folder",
        tmp_path / "none@3": "none@3: expected a workdir .* found no folder",
    }.items():
        with pytest.raises(loading.LoadError, match=message):
            videobert_jax.load(name)
    change(folder, format_version=2)
    with pytest.raises(ExportError, match="version 2 of the format, newer .* install a newer"):
        videobert_jax.load(folder)
    change(folder, format_version=0)
    with pytest.raises(ExportError, match="version 0, expected .* export the checkpoint anew"):
        videobert_jax.load(folder)
    change(folder, format_version=1)
    weights = folder / safetensors.WEIGHTS_FILE
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    with pytest.raises(ExportError, match="model.safetensors: its sha256 is not the one in"):
        videobert_jax.load(folder)
    weights.unlink()
    with pytest.raises(ExportError, match="model.safetensors: missing; copy the whole folder"):
        videobert_jax.load(folder)
