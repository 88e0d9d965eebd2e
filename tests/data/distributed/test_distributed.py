"""Parts written by Beam: the same bytes as one process writes, whatever the engine and the disk."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from tests.data import drawn
from tests.data.test_writer import tree
from videobert_jax.data import index

pytest.importorskip("apache_beam", reason="Beam (extra `beam`) is not installed")

from tests.data.distributed import bucket  # noqa: E402
from tests.data.distributed.writing import IN_PROCESS, start  # noqa: E402
from videobert_jax.data.distributed import pipeline  # noqa: E402

REPOSITORY = pathlib.Path(__file__).parents[3]


@pytest.fixture(scope="module")
def features(tmp_path_factory, contract) -> pathlib.Path:
    """The drawn features as a folder of .npy with their contract, as extraction leaves them."""
    folder = tmp_path_factory.mktemp("features")
    for split in drawn.VIDEO_CLIPS:
        for name, values in drawn.drawn_videos(split).items():
            np.save(folder / f"{name}.npy", values)
    (folder / "contract.json").write_text(json.dumps(contract.to_json()))
    return folder


def direct(workers: int) -> list[str]:
    return pipeline.options([], workers)


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_processes_writes_the_bytes_of_one(
    dataset, contract, features, tmp_path, monkeypatch, workers
):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    out = start(tmp_path / "set", contract, features, direct(workers))
    drawn.fill(out)
    written = out.finish()
    assert written is not None and written.digest == dataset.digest
    assert tree(written.path) == tree(dataset.path)


def test_a_job_service_runs_the_same_pipeline(dataset, contract, features, tmp_path):
    from apache_beam.runners.portability import local_job_service

    service = local_job_service.LocalJobServicer(str(tmp_path / "staged"))
    endpoint = f"localhost:{service.start_grpc_server(0)}"
    options = ["--runner=PortableRunner", f"--job_endpoint={endpoint}"]
    try:
        out = start(tmp_path / "set", contract, features, [*options, "--environment_type=LOOPBACK"])
        drawn.fill(out)
        written = out.finish()
    finally:
        service.stop()
    assert written is not None and tree(written.path) == tree(dataset.path)


def test_a_bucket_gets_the_same_objects(dataset, contract, features, tmp_path, monkeypatch):
    monkeypatch.setenv(bucket.ROOT, str(tmp_path))
    out = start("bucket://data/sets/drawn", contract, features, IN_PROCESS)
    drawn.fill(out)
    assert out.finish() is None  # nothing that could be opened as files
    found = bucket.objects("bucket://data/sets/drawn")
    assert found == {
        file.relative_to(dataset.path).as_posix(): file.read_bytes()
        for file in dataset.path.rglob("*")
        if file.is_file()
    }
    with pytest.raises(FileNotFoundError):
        pathlib.Path("bucket://data/sets/drawn/dataset.json").read_bytes()
    with pytest.raises(index.DatasetError, match="finished dataset is there already"):
        start("bucket://data/sets/drawn", contract, features, IN_PROCESS)


def test_a_killed_start_goes_on_with_the_parts_that_are_missing(
    dataset, contract, features, tmp_path, monkeypatch
):
    path = tmp_path / "set"
    program = textwrap.dedent(f"""
        import json, pathlib, sys, time
        from tests.data import drawn
        from tests.data.distributed import writing
        from videobert_jax import schema
        from videobert_jax.data.distributed import storage

        whole = storage.Storage.write

        def write(self, name, content):
            whole(self, name, content)
            if name.endswith(".done"):
                time.sleep(3600)  # killed here

        storage.Storage.write = write
        contract = schema.FeatureContract.from_json(json.loads({json.dumps(contract.to_json())!r}))
        out = writing.start({str(path)!r}, contract, pathlib.Path({str(features)!r}),
                                     writing.IN_PROCESS)
        drawn.fill(out)
        out.finish()
    """)
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment, cwd=REPOSITORY)
    deadline = time.monotonic() + 120
    while not list(path.glob("partial/*.done")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = {file: file.stat().st_mtime_ns for file in path.glob("partial/*.done")}
    assert 1 <= len(done) < 5
    out = start(path, contract, features, IN_PROCESS)
    drawn.fill(out)
    assert {file: file.stat().st_mtime_ns for file in done} == done  # not written again
    written = out.finish()
    assert written is not None and tree(written.path) == tree(dataset.path)


def test_a_changed_source_is_noticed(contract, features, tmp_path):
    first = start(tmp_path / "set", contract, features, IN_PROCESS)
    drawn.fill(first)
    key = "train-00000"
    pipeline.run(first._storage, contract, [key], first._open_source, IN_PROCESS)
    assert (tmp_path / "set" / "partial" / f"{key}.done").is_file()
    again = start(tmp_path / "set", contract, features, IN_PROCESS)
    again.add_video("train", "train0", object, [])
    with pytest.raises(index.DatasetError, match="part train-00000 .*source has changed"):
        again.add_video("train", "train1", object, [])
    with pytest.raises(index.DatasetError, match="'train0': it was given twice"):
        again.add_video("train", "train0", object, [])


def test_damaged_features_are_told_or_stop_it(contract, features, tmp_path):
    damaged = pathlib.Path(shutil.copytree(features, tmp_path / "damaged"))
    (damaged / "train1.npy").write_bytes(b"nothing")
    out = start(tmp_path / "set", contract, damaged, IN_PROCESS)
    segments = drawn.drawn_segments("x", 1)
    for name, then in (("train0", "refuse"), ("train1", "empty"), ("train2", "refuse")):
        out.add_video("train", name, object, segments, damaged=then)
    out.add_video("test", "train1", object, segments, damaged="keep")
    dataset = out.finish()
    assert dataset is not None
    train, test = dataset.split("train"), dataset.split("test")
    assert train.num_clips.tolist() == [1, 0, 17] and train.video.tolist() == [0] * 3 + [2] * 3
    assert len(test) == 3 and test.clip_count.tolist() == [0] * 3
    told = (tmp_path / "set" / "failures.jsonl").read_text().splitlines()
    assert [json.loads(line)["video"] for line in told] == ["train1", "train1"]

    out = start(tmp_path / "other", contract, damaged, IN_PROCESS)
    out.add_video("train", "train0", object, segments)
    out.add_video("train", "train1", object, segments)
    out.add_video("train", "train2", object, segments)
    with pytest.raises(index.DatasetError, match="1 of 2 parts .*'train1'.*same command goes on"):
        out.finish()
    np.save(damaged / "train1.npy", drawn.drawn_videos("train")["train1"])
    out = start(tmp_path / "other", contract, damaged, IN_PROCESS)
    for name in ("train0", "train1", "train2"):
        out.add_video("train", name, object, segments)
    assert out.finish() is not None
