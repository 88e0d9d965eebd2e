"""A whole run in an emulated bucket: two processes train, evaluate, save, and are stopped; one
process with another mesh goes on; what it has learnt is evaluated, verified and exported there."""

import json
import pathlib
import subprocess
from collections.abc import Iterator

import numpy as np
import pytest

import train as entry_point
from tests.integration import pairs, runs
from tests.integration.pairs import started
from videobert_jax.cli import main
from videobert_jax.files import stopping, storage
from videobert_jax.training import checkpoint_folder, checkpoint_verification, hardware

pytest.importorskip("gcsfs", reason='gcsfs is not installed: pip install "videobert-jax[gcs]"')
pytest.importorskip("gcp_storage_emulator", reason="the emulator comes with make setup-parity")
from tests import buckets

__all__ = ["started"]  # a fixture
URL = f"gs://{buckets.BUCKET}"
NUM_STEPS = 12
SETTINGS = {
    "training__num_steps": NUM_STEPS,
    "training__save_every": 3,
    "training__eval_every": 6,
    "training__keep_checkpoints": 2,
    "mesh__fsdp": 2,
    **pairs.ONE_OBJECTIVE,
}


@pytest.fixture(scope="module", autouse=True)
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A bucket that this process and those it starts use, and a cache of their own."""
    with pytest.MonkeyPatch.context() as patch, buckets.emulated() as port:
        for name, value in buckets.environment(port).items():
            patch.setenv(name, value)
        patch.setenv("VIDEOBERT_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(hardware, "start", lambda *_, **__: "devices: those of the tests")
        patch.setattr(hardware, "keep_to_host", lambda: None)
        yield


@pytest.fixture(scope="module")
def dataset(tiny_dataset: pathlib.Path) -> str:
    """The dataset's copy in the bucket."""
    storage.upload(tiny_dataset, storage.path(f"{URL}/dataset"))
    return f"{URL}/dataset"


def call(*words: str) -> int:
    return main.main(list(words))


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_run_lives_in_a_bucket(
    dataset: str,
    tiny_dataset: pathlib.Path,
    tmp_path: pathlib.Path,
    started: list[subprocess.Popen],  # noqa: F811
    capsys: pytest.CaptureFixture[str],
):
    workdir = storage.path(f"{URL}/run")
    processes = pairs.start_both(workdir, dataset, tmp_path, started, **SETTINGS)
    runs.wait_for_step(workdir, 6, processes[0])  # reported with the save at step 6
    runs.terminate(processes[1])
    output = pairs.finish(processes, tmp_path, stopping.STOPPED)
    assert "retrieval: num_candidates" in output and "saved step" in output
    step = checkpoint_folder.manifest_steps(workdir)[-1]
    assert 6 <= step < NUM_STEPS and len(checkpoint_folder.manifest_steps(workdir)) == 2
    assert not list((workdir / "manifests").glob("*.part-*"))
    pieces = runs.saved_digests(workdir, step)["params/text_embedding/pieces"]
    assert len(pieces) == 2  # a half by each process

    other = {**SETTINGS, "mesh__fsdp": 4, "data__local_copy": tmp_path / "disk"}
    result = runs.train(workdir, dataset, **other)
    assert result.finished and f"continues at step {step}" in capsys.readouterr().out
    assert checkpoint_verification.verify(workdir).ok
    assert checkpoint_folder.checkpoint_steps(workdir) == [max(step, 9), NUM_STEPS]

    disk = runs.train(tmp_path / "run", tiny_dataset, **other)
    assert disk.finished
    here, there = runs.figures(tmp_path / "run"), runs.figures(workdir)
    losses = [[line["loss"] for line in lines if "loss" in line] for lines in (here, there)]
    assert len(losses[0]) == NUM_STEPS
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)  # sums in another order
    assert [path.name for path in (workdir / "leases").glob("*")] == ["1.json", "2.json"]

    assert call("verify", str(workdir)) == 0 and call("verify", dataset) == 0
    assert call("evaluate", f"--workdir={workdir}", "--task=retrieval", "--dataset", dataset) == 0
    record = json.loads((workdir / "eval" / "retrieval.json").read_text())
    assert record["checkpoint"]["step"] == NUM_STEPS
    capsys.readouterr()
    assert call("summarize", str(workdir)) == 0
    assert f"{workdir}/checkpoints" in capsys.readouterr().out
    for target in (f"{workdir}/export", str(tmp_path / "export")):
        assert call("export", f"--checkpoint={workdir}@{NUM_STEPS}", f"--output={target}") == 0
    from videobert_jax.export import safetensors

    exported = safetensors.load_bundle(f"{workdir}/export")
    assert exported.digest == safetensors.load_bundle(tmp_path / "export").digest
    assert exported.step == NUM_STEPS
    assert call("export", f"--checkpoint={workdir}", f"--output={workdir}/export") == 0
    assert "holds" in capsys.readouterr().out


def test_a_bucket_without_permission_is_said_before_anything_is_computed(
    dataset: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for bucket, said in ((buckets.CLOSED, "add-iam-policy-binding"), ("nowhere", "create gs://")):
        arguments = ["train.py", f"--workdir=gs://{bucket}/run", *runs.flags(dataset)]
        monkeypatch.setattr("sys.argv", arguments)
        assert entry_point.main() == 2
        error = capsys.readouterr().err
        assert "storage.objects.create" in error and said in error and bucket in error
    arguments = [
        "train.py",
        f"--workdir={URL}/other",
        *runs.flags(f"gs://{buckets.CLOSED}/dataset"),
    ]
    monkeypatch.setattr("sys.argv", arguments)
    assert entry_point.main() == 2
    assert "storage.objects.list" in capsys.readouterr().err
