"""Bad input of train.py: an error that names what was found, what was expected and the remedy."""

import json
import pathlib
import shutil
from collections.abc import Callable

import numpy as np
import pytest

import train as entry_point
from tests import fakes
from tests.integration import runs
from videobert_jax.data import segments
from videobert_jax.data.writer import DatasetWriter
from videobert_jax.training import checkpoint_verification, hardware, run_record
from videobert_jax.training import inputs as run_inputs


@pytest.fixture(autouse=True)
def devices_are_there(monkeypatch: pytest.MonkeyPatch):
    """The tests' own devices; another choice of platform comes too late in this process."""
    monkeypatch.setattr(hardware, "start", lambda *_, **__: "devices: those of the tests")


def run(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    workdir: pathlib.Path,
    dataset: pathlib.Path,
    **settings: object,
) -> str:
    """What train.py prints on standard error; it must end with exit code 2."""
    arguments = ["train.py", f"--workdir={workdir}", *runs.flags(dataset, **settings)]
    monkeypatch.setattr("sys.argv", arguments)
    assert entry_point.main() == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    "settings, shown",
    [
        ({"optimizer__lerning_rate": 1}, ["optimizer.lerning_rate", "optimizer.learning_rate"]),
        ({"optimizer__learning_rate": "fast"}, ["'fast'", "expected float"]),
        ({"data__blocks_per_batch": 3}, ["blocks_per_batch=3", "8 shards", "multiple of 8"]),
        ({"mesh__fsdp": 3}, ["fsdp=3", "8 devices"]),
        (
            {"mesh__tensor": 8, "model__num_heads": 12, "model__embed_dim": 96},
            ["num_heads=12 is split over mesh.tensor=8", "tensor=6 or 12", "heads=8 or 16"],
        ),
        (
            {"mesh__fsdp": 8, "model__embed_dim": 36},
            ["embed_dim=36", "fsdp=8", "fsdp=6 or 9", "dim=32 or 40"],
        ),
        ({"training__accumulation_steps": 3}, ["accumulation_steps=3", "blocks_per_batch=8"]),
        ({"model__attention": "kernel"}, ["'kernel' is for TPUs, found cpu", "'dense'"]),
        ({"data__path": ""}, ["data.path is empty", "prepare"]),
        ({"data__path": "/nowhere"}, ["/nowhere", "prepare"]),
        ({"optimizer__warmup_steps": 50}, ["warmup_steps=50", "num_steps=8"]),
        ({"model__video__feature_dim": 7}, ["feature_dim=7", "24 dimensions"]),
        ({"data__text_length": 64}, ["text_length=64", "max_length=32"]),
        (
            {"data__examples_per_row": 2, "data__text_length": 5},
            ["text_length=5 is too short for data.examples_per_row=2", "use 6 or more"],
        ),
        (
            {"model__token_head": True, "data__content_words": "/nowhere.json"},
            ["/nowhere.json: not a file of content words", "videobert content-words"],
        ),
        (
            {"data__sources__main__neighbours": "/nowhere.safetensors"},
            ["/nowhere.safetensors: not an order of near videos", "videobert cluster-videos"],
        ),
        (
            {"data__sources__main__alignment": "/nowhere.safetensors"},
            ["/nowhere.safetensors: not an alignment of narration", "videobert align"],
        ),
        ({"init__checkpoint": "/nowhere@3"}, ["/nowhere@3", "expected a workdir"]),
        ({"init__bert": "/nowhere"}, ["/nowhere: has no config.json", "expected the folder"]),
        ({"init__bert_video_layers": 1}, ["needs init.bert, found none", "init.bert=DIR"]),
        (
            {"init__bert": "/nowhere", "init__bert_video_layers": 3},
            ["bert_video_layers=3 is more than model.video.num_layers=1", "lower"],
        ),
        (
            {"init__bert": "/nowhere", "init__checkpoint": "/nowhere@3"},
            ["exclude each other", "init.modules=video_tower"],
        ),
    ],
)
def test_settings(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tiny_dataset: pathlib.Path,
    tmp_path: pathlib.Path,
    settings: dict[str, object],
    shown: list[str],
):
    error = run(monkeypatch, capsys, tmp_path / "run", tiny_dataset, **settings)
    assert error.startswith("error: ") and "Traceback" not in error
    for part in shown:
        assert part in error
    assert not (tmp_path / "run" / "checkpoints").exists()


def lose_a_shard(dataset: pathlib.Path) -> str:
    shard = sorted(dataset.glob("*train*array_record*"))[0]
    shard.unlink()
    return shard.name


def truncate_a_shard(dataset: pathlib.Path) -> str:
    shard = sorted(dataset.glob("*train*array_record*"))[0]
    shard.write_bytes(shard.read_bytes()[:-100])
    return shard.name


def empty_the_captions(dataset: pathlib.Path) -> str:
    path = dataset / "index" / "train" / "text.bin"
    path.write_bytes(b"")
    return "caption file is empty"


@pytest.mark.parametrize("damage", [lose_a_shard, truncate_a_shard, empty_the_captions])
def test_damaged_datasets(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tiny_dataset: pathlib.Path,
    tmp_path: pathlib.Path,
    damage: Callable[[pathlib.Path], str],
):
    dataset = pathlib.Path(shutil.copytree(tiny_dataset, tmp_path / "dataset"))
    shown = damage(dataset)
    error = run(monkeypatch, capsys, tmp_path / "run", dataset)
    assert shown in error and "prepare" in error


def other_dataset(output: pathlib.Path, backbone: str) -> pathlib.Path:
    """Features of the same size, made by another backbone."""
    contract = json.loads(json.dumps(fakes.CONTRACT.to_json())) | {"backbone": backbone}
    writer = DatasetWriter(output, "other", fakes.CONTRACT.from_json(contract))
    features = np.random.default_rng(1).normal(size=(8, fakes.FEATURE_DIM)).astype(np.float16)
    cues = [segments.Segment(start=0.0, end=4.0, text="cut the onion and stir")]
    writer.add_video("train", "other_0", features, cues)
    writer.finish()
    return output


def test_a_workdir_of_another_dataset_and_of_another_model(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tiny_dataset: pathlib.Path,
    tmp_path: pathlib.Path,
):
    from videobert_jax.training import steps

    monkeypatch.setattr(steps, "objective_gradient_norms", lambda *_, **__: {"all": 1.0})
    workdir = tmp_path / "run"
    runs.train(workdir, tiny_dataset, stop=lambda step: step == 1)
    other = other_dataset(tmp_path / "other", "random")
    error = run(monkeypatch, capsys, workdir, other)
    assert "sources" in error and "other data" in error
    # The settings are made to agree, so that the parameters themselves are compared.
    error = run(monkeypatch, capsys, workdir, tiny_dataset, model__joint_dim=24)
    assert "model.joint_dim: 16 there, 24 now" in error
    settings = json.loads((workdir / "config.json").read_text())
    settings["model"]["joint_dim"] = 24
    (workdir / "config.json").write_text(json.dumps(settings))
    error = run(monkeypatch, capsys, workdir, tiny_dataset, model__joint_dim=24)
    assert "of another model" in error and "params/joint_head" in error
    assert "[32, 16]" in error and "[32, 24]" in error and "new --workdir" in error
    assert checkpoint_verification.verify_steps(workdir) == {1: []}


def test_sources_made_by_different_backbones(tiny_dataset: pathlib.Path, tmp_path: pathlib.Path):
    from videobert_jax import configuration

    path = runs.flags(tiny_dataset)[0].removeprefix("--config=")
    config = configuration.load_file(path)
    config.data.path = str(tiny_dataset)
    other = {"path": str(other_dataset(tmp_path / "other", "s3d")), "split": "train"}
    config.data.sources.other = {**config.data.sources.main, **other}
    with pytest.raises(ValueError, match="backbone: .*'s3d'.*'random'"):
        run_inputs.open_inputs(configuration.parse(config), tmp_path, None, None, begins=True)


def test_a_replaced_tokenizer_is_noticed_before_it_is_parsed(
    tiny_dataset: pathlib.Path, tmp_path: pathlib.Path
):
    (tmp_path / "tokenizer.model").write_bytes(b"tokenizer")
    model = configuration_model()
    rest = {"contract": fakes.CONTRACT, "trained_on": {}, "answers": (), "clip_labels": ()}
    run_record.write(tmp_path, {"name": "x"}, model=model, **rest)
    (tmp_path / "tokenizer.model").write_bytes(b"another")
    with pytest.raises(run_record.RunRecordError, match="tokenizer.model: sha256 .* says"):
        run_record.read(tmp_path)


def configuration_model():
    from videobert_jax import configuration

    path = runs.flags(pathlib.Path())[0].removeprefix("--config=")
    return configuration.parse(configuration.load_file(path)).model
