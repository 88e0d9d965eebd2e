"""`eval.py` by two processes of two devices writes what one process of one device writes.

Here for its time: it compiles every task's programs twice.
"""

import dataclasses
import json
import os
import pathlib
import socket
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from tests.tasks import asked, made_tasks
from tests.tasks.conftest import bundle, dataset
from videobert_jax.export import safetensors

__all__ = ["bundle", "dataset"]  # fixtures

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
OF_STEPS = "step_localization,action_segmentation,retrieval,linear_probe"
OF_SENTENCES = "zero_shot_classification,fill_mask,captioning"


@pytest.fixture(
    params=[
        *(pytest.param(of, marks=pytest.mark.long) for of in ("steps", "sentences")),
        "questions",
    ]
)
def arguments(request, bundle, dataset, tmp_path) -> list[str]:
    """Of eval.py: an export of an untrained network and a dataset that fits some tasks; numbers of
    examples that neither rows nor devices divide."""
    if request.param == "steps":
        data = made_tasks.write_tasks(tmp_path / "data", 23, training=5)
        split, tasks = "primary", OF_STEPS
    elif request.param == "sentences":
        data, split, tasks = dataset, "test", OF_SENTENCES
    else:
        data = asked.write(tmp_path / "data", videos=10)
        split, tasks = "test", "multiple_choice"
    safetensors.save_bundle(
        dataclasses.replace(bundle, contract=data.contract), tmp_path / "export"
    )
    return [
        f"--checkpoint={tmp_path / 'export'}",
        f"--dataset={data.path}",
        f"--split={split}",
        f"--task={tasks}",
        "--platform=cpu",
    ]


def start(arguments: list[str], log: pathlib.Path, devices: int) -> subprocess.Popen:
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices)}
    command = [sys.executable, str(ROOT / "eval.py"), *arguments]
    with open(log, "wb") as output:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)


def leaves(value, path: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{path}/{name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from leaves(inner, f"{path}/{number}")
    else:
        yield path, value


@pytest.mark.timeout(900)
def test_two_processes_write_the_records_of_one(arguments, tmp_path):
    together, alone = tmp_path / "together", tmp_path / "alone"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pair = [f"--coordinator=127.0.0.1:{port}", "--num_processes=2"]
    running = [
        start([*arguments, f"--output={alone}/"], tmp_path / "alone.txt", 1),
        *(
            start(
                [*arguments, f"--output={together}/", *pair, f"--process_id={i}"],
                tmp_path / f"process_{i}.txt",
                2,
            )
            for i in range(2)
        ),
    ]
    codes = [process.wait(timeout=800) for process in running]
    assert codes == [0, 0, 0], (tmp_path / "process_0.txt").read_text()[-4000:]
    records = sorted(path.name for path in alone.glob("*.json"))
    assert records == sorted(path.name for path in together.glob("*.json")) and records
    for name in records:
        ours, theirs = (json.loads((folder / name).read_text()) for folder in (together, alone))
        ours, theirs = dict(leaves(ours["metrics"])), dict(leaves(theirs["metrics"]))
        assert ours.keys() == theirs.keys() and ours
        for figure, value in ours.items():
            if isinstance(value, float):
                np.testing.assert_allclose(value, theirs[figure], atol=1e-6, err_msg=figure)
            else:
                assert value == theirs[figure], figure
