"""Weights & Biases itself, offline, takes a run's figures, and goes on with the same run."""

import json
import pathlib
import struct
import subprocess
import sys

import pytest

pytest.importorskip("wandb", reason='needs wandb: pip install "videobert-jax[wandb]"')

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# In a process of its own: wandb starts one beside it, and reads the environment once.
WRITE = """
import pathlib, sys
from videobert_jax.training import metric_writers
workdir, first = pathlib.Path(sys.argv[1]), int(sys.argv[2])
writer = metric_writers.open_writers(
    workdir, restored_step=first - 1, wandb_project="tries", config={"name": "tiny", "seed": 3}
)
for step in range(first, first + 3):
    writer.write(step, {"loss": float(step), "mfu": None, "retrieval/R1": 0.5})
writer.close()
"""


def start(workdir: pathlib.Path, first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("WANDB_MODE", "offline"), ("WANDB_SILENT", "true")):
        monkeypatch.setenv(name, value)
    subprocess.run([sys.executable, "-c", WRITE, str(workdir), str(first)], check=True, cwd=ROOT)


def test_a_run_goes_on_as_the_same_run(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    start(tmp_path, 1, monkeypatch)
    start(tmp_path, 3, monkeypatch)  # from a checkpoint of step 2: step 3 is taken again
    (run_id,) = json.loads((tmp_path / "wandb.json").read_text()).values()
    files = sorted((tmp_path / "wandb").rglob("*.wandb"))
    assert len(files) == 2 and {file.stem for file in files} == {f"run-{run_id}"}
    held = [logged(file) for file in files]
    assert [figures["step"] for figures in held[0]] == [1, 2, 3]
    assert [figures["step"] for figures in held[1]] == [3, 4, 5]
    assert held[1][0]["retrieval/R1"] == 0.5 and "mfu" not in held[1][0]


def logged(file: pathlib.Path) -> list[dict]:
    """Figures of an offline run's file: behind a header of 7 bytes, records of checksum, length and
    kind, each a message of protobuf; more than one block of 32 KiB these few do not fill."""
    from wandb.proto import wandb_internal_pb2

    data, found, place = file.read_bytes(), [], 7
    assert len(data) < 2**15
    while place < len(data):
        _, length, _ = struct.unpack_from("<IHB", data, place)
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data[place + 7 : place + 7 + length])
        place += 7 + length
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            found.append({"/".join(item.nested_key) or item.key: item.value_json for item in items})
    return [{name: json.loads(text) for name, text in figures.items()} for figures in found]
