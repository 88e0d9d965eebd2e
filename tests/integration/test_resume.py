"""A run that is stopped and started again ends with the same bits as one that is not."""

import functools
import json
import operator
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest

from tests.drills import train_with
from tests.integration import runs
from videobert_jax.data import device_feed, index
from videobert_jax.training import (
    checkpoint,
    checkpoint_bundle,
    checkpoint_folder,
    checkpoint_verification,
    goodput,
    run_record,
)


@pytest.fixture(scope="module")
def reference(tiny_dataset: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Workdir of a run that was never stopped."""
    workdir = tmp_path_factory.mktemp("runs") / "reference"
    result = runs.train(workdir, tiny_dataset)
    assert result.finished and result.step == runs.NUM_STEPS
    return workdir


def test_a_sigterm_saves_and_the_next_start_goes_on_bit_for_bit(
    reference: pathlib.Path, tiny_dataset: pathlib.Path, tmp_path: pathlib.Path, capsys
):
    def terminate_once(step: int) -> bool:
        if step == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return False

    stopped = runs.train(tmp_path, tiny_dataset, stop=terminate_once)
    assert not stopped.finished and stopped.step in (5, 6)
    assert f"SIGTERM: saved step {stopped.step}" in capsys.readouterr().out
    assert checkpoint_folder.manifest_steps(tmp_path)[-1] == stopped.step
    start = (goodput.read(tmp_path) or {})["starts"][0]
    assert start["ended"] and start["step"] == stopped.step
    with open(tmp_path / "metrics.jsonl", "a") as file:  # as if it had gone further and been killed
        file.write('{"step": 7, "loss": 999.0}\n{"step": 8, "lo')
    # What changes no parameter may change between starts.
    resumed = runs.train(
        tmp_path, tiny_dataset, training__save_every=100, data__workers=1, data__executor="tf"
    )
    assert resumed.finished
    output = capsys.readouterr().out
    assert f"continues at step {stopped.step}" in output
    assert "gradient norm of each objective" not in output
    assert runs.saved_digests(tmp_path, 8) == runs.saved_digests(reference, 8)
    assert runs.figures(tmp_path) == runs.figures(reference)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says that a process is alive")
def test_a_second_start_is_refused_and_the_first_takes_no_notice(
    reference: pathlib.Path, tiny_dataset: pathlib.Path, tmp_path: pathlib.Path
):
    workdir, log = tmp_path / "run", tmp_path / "second.txt"
    codes: list[int] = []

    def start_once_more(step: int) -> bool:
        if step == 5:
            flags = runs.flags(tiny_dataset)
            codes.append(runs.start(workdir, flags, devices=1, log=log).wait())
        return False

    assert runs.train(workdir, tiny_dataset, stop=start_once_more).finished
    assert codes == [2]
    said = log.read_text()
    assert f"process {os.getpid()} on " in said and "trains here and is alive" in said
    assert [path.name for path in (workdir / "leases").iterdir()] == ["1.json"]
    assert runs.saved_digests(workdir, 8) == runs.saved_digests(reference, 8)
    assert runs.figures(workdir) == runs.figures(reference)


def test_a_finished_run_is_left_alone(reference: pathlib.Path, tiny_dataset: pathlib.Path, capsys):
    before = {path: path.stat().st_mtime_ns for path in reference.rglob("*")}
    result = runs.train(reference, tiny_dataset)
    assert result.finished and result.step == runs.NUM_STEPS
    assert "nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in reference.rglob("*")} == before


@pytest.mark.parametrize(
    "name, value, shown",
    [
        ("optimizer__learning_rate", 0.5, "optimizer.learning_rate: 0.001 there, 0.5 now"),
        ("seed", 7, "seed: 0 there, 7 now"),
        ("training__num_steps", 80, "training.num_steps: 8 there, 80 now"),
        ("data__text_length", 24, "data.text_length: 16 there, 24 now"),
        ("model__joint_dim", 8, "model.joint_dim: 16 there, 8 now"),
        (
            "objectives__contrastive__weight",
            2.0,
            "objectives.contrastive.weight: 1.0 there, 2.0 now",
        ),
    ],
)
def test_other_settings_are_an_error_that_names_them(
    reference: pathlib.Path, tiny_dataset: pathlib.Path, name: str, value: object, shown: str
):
    before = sorted(reference.rglob("*"))
    with pytest.raises(run_record.RunRecordError) as caught:
        runs.train(reference, tiny_dataset, **{name: value})
    assert shown in str(caught.value) and "new --workdir" in str(caught.value)
    assert sorted(reference.rglob("*")) == before


def test_settings_younger_than_the_workdir_are_as_good_as_said(
    reference: pathlib.Path, tiny_dataset: pathlib.Path, tmp_path: pathlib.Path, capsys
):
    workdir = pathlib.Path(shutil.copytree(reference, tmp_path / "run"))
    config = json.loads((workdir / "config.json").read_text())
    for setting in run_record.YOUNGER_SETTINGS.keys() - runs.SETTINGS.keys():
        *groups, name = setting.split(".")
        del functools.reduce(operator.getitem, groups, config)[name]
    (workdir / "config.json").write_text(json.dumps(config))
    record = json.loads((workdir / "run.json").read_text())
    for head in ("answers", "clip_labels"):
        assert record.pop(head) == [] and record["model"].pop(head) == 0
    (workdir / "run.json").write_text(json.dumps(record))
    assert checkpoint_bundle.load(str(workdir)).step == runs.NUM_STEPS
    assert runs.train(workdir, tiny_dataset).finished
    assert "nothing to do" in capsys.readouterr().out
    with pytest.raises(run_record.RunRecordError, match="layer_decay: '.not set.' there, 0.5 now"):
        runs.train(workdir, tiny_dataset, optimizer__layer_decay=0.5)


def test_the_workdir_is_a_whole_model(reference: pathlib.Path, tiny_dataset: pathlib.Path):
    bundle = checkpoint_bundle.load(f"{reference}@6")
    newest = checkpoint_bundle.load(str(reference))
    assert (bundle.step, newest.step) == (6, 8)
    assert bundle.digest != newest.digest
    raw = checkpoint_bundle.load(f"{reference}@6", "raw")
    assert (bundle.weights, raw.weights) == ("ema", "raw")
    assert bundle.captioning_inputs is None  # it learns no captions
    assert bundle.digest != raw.digest
    assert bundle.trained_on["video_names"] == sorted(f"train_{i}" for i in range(12))
    assert checkpoint_verification.verify(reference).ok
    assert str(checkpoint_verification.verify(reference, 6)) == "step 6: all arrays are as saved"
    with pytest.raises(checkpoint.CheckpointError, match="no step 7; it has: .3, 6, 8."):
        checkpoint_verification.verify(reference, 7)
    with pytest.raises(checkpoint.CheckpointError, match="has the steps: 3, 6, 8"):
        checkpoint_bundle.load(f"{reference}@7")


def test_steps_are_saved_where_the_data_cannot_go_on(
    reference: pathlib.Path,
    tiny_dataset: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
):
    take = device_feed.DeviceFeed.__next__
    given = []

    def lost_after_five(feed: device_feed.DeviceFeed) -> object:
        if len(given) == 5:
            raise index.DatasetError("the shard is missing")
        given.append(take(feed))
        return given[-1]

    with monkeypatch.context() as patch:
        patch.setattr(device_feed.DeviceFeed, "__next__", lost_after_five)
        with pytest.raises(index.DatasetError):
            runs.train(tmp_path, tiny_dataset)
    assert checkpoint_folder.manifest_steps(tmp_path)[-1] == 5  # saves are due at 3 and 6
    runs.train(tmp_path, tiny_dataset)
    last = runs.NUM_STEPS
    assert runs.saved_digests(tmp_path, last) == runs.saved_digests(reference, last)


@pytest.mark.parametrize(("batch", "saved"), [(2, 4), (7, 8)])
def test_steps_are_saved_where_too_many_examples_are_damaged(
    tiny_dataset: pathlib.Path, tmp_path: pathlib.Path, batch: int, saved: int
):
    """How many they are is known when the next step is under way, and at the end of all."""
    number, size = batch * 8, f"4 of {(batch + 1) * 32} examples"
    with train_with.damaged(str(number)), pytest.raises(device_feed.DamagedDataError, match=size):
        runs.train(tmp_path, tiny_dataset, data__max_damaged_fraction=0.003)
    assert checkpoint_folder.manifest_steps(tmp_path)[-1] == saved
    counted = [line["damaged_examples"] for line in runs.figures(tmp_path)]
    assert counted == [0] * batch + [4] * (saved - batch)
    assert runs.train(tmp_path, tiny_dataset).finished  # the setting may change


@pytest.mark.parametrize(
    "command", ["verify {run}", "verify {run}@6", "export --checkpoint={run} --output={output}"]
)
def test_reading_a_checkpoint_needs_no_accelerator(
    reference: pathlib.Path, tmp_path: pathlib.Path, command: str
):
    """Asked for a device that cannot be had, as a TPU that the run itself holds cannot."""
    arguments = command.format(run=reference, output=tmp_path / "export").split()
    found = subprocess.run(
        [sys.executable, "-m", "videobert_jax", *arguments],
        cwd=runs.ROOT,
        env={**os.environ, "JAX_PLATFORMS": "rocm"},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr


def test_a_new_run_takes_over_the_parameters_of_another(
    reference: pathlib.Path, tiny_dataset: pathlib.Path, tmp_path: pathlib.Path, capsys
):
    evaluated = []

    class FirstParameters:
        name = "first"

        def __call__(self, bundle):
            evaluated.append(bundle)
            return {"step": float(bundle.step)}

    runs.train(
        tmp_path,
        tiny_dataset,
        init__checkpoint=reference,
        init__modules="text_tower",
        optimizer__learning_rate=0.0,
        optimizer__weight_decay=0.0,
        training__num_steps=3,
        training__eval_every=1,
        training__eval_tasks="first",
        training__best_metric="first/step",
        training__best_is_highest=False,
        evaluators=(FirstParameters(),),
        stop=lambda step: step == 2,
    )
    assert checkpoint_folder.read_best(tmp_path).step == 1
    assert checkpoint_bundle.load(f"{tmp_path}@best").step == 1
    assert "random: bag_of_words_head, cross_encoder" in capsys.readouterr().out
    source = checkpoint_bundle.load(str(reference)).variables["params"]
    [found] = [bundle.variables["params"] for bundle in evaluated]
    same = {name: _equal(found[name], source[name]) for name in source}
    assert same["text_embedding"] and same["text_encoder"]
    assert not same["video_encoder"] and not same["cross_encoder"]
    tokenizer = (tmp_path / "tokenizer.model").read_bytes()
    assert tokenizer == (reference / "tokenizer.model").read_bytes()
    assert len(run_record.read(tmp_path).trained_on["datasets"]) == 2


def _equal(one, other) -> bool:
    import jax
    import numpy as np

    return jax.tree.all(jax.tree.map(np.array_equal, one, other))


def test_a_run_reads_its_local_copy_and_sees_the_same_data(
    reference: pathlib.Path, tiny_dataset: pathlib.Path, tmp_path: pathlib.Path
):
    disk = tmp_path / "disk"
    runs.train(tmp_path / "run", tiny_dataset, data__local_copy=disk)
    (copied,) = (path for path in disk.iterdir() if path.is_dir())
    assert (copied / "dataset.json").is_file()
    assert runs.figures(tmp_path / "run") == runs.figures(reference)
