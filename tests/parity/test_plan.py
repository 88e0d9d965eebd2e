"""The TPU compiler on the real training step."""

import importlib.util
import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason='libtpu is not installed: pip install "videobert-jax[tpu-compiler]"',
)

STEP = (  # of the smallest network, one objective: what is compiled is the same, in less time
    "--config=configs/tiny.py",
    "--topology=v5e:2x2",
    "--config.objectives.matching.weight=0",
    "--config.objectives.masked_video.weight=0",
    "--config.objectives.contrastive.weight=0",
)


def run_plan(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: libtpu and the CPU devices of the tests do not go together."""
    return subprocess.run(
        [sys.executable, "-m", "videobert_jax", "plan", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.mark.long
def test_a_step_compiles_for_tpu_and_its_needs_are_told():
    run = run_plan(*STEP, "--json", "--config.data.blocks_per_batch=4", "--config.mesh.fsdp=2")
    assert run.returncode == 0, run.stderr
    made = json.loads(run.stdout)
    assert made["fits"] is True
    assert made["num_devices"] == 4
    assert made["mesh"] == {"data": 2, "fsdp": 2, "tensor": 1}
    assert made["device_kind"].startswith("TPU")
    # float32 parameters and both moments, of which fsdp leaves a device its part
    parameters = 4 * made["parameters"]
    memory = made["memory"]
    assert parameters / 2 < memory["parameters"] < parameters
    assert memory["optimizer"] == pytest.approx(2 * memory["parameters"], rel=0.01)
    assert made["needed_bytes"] == sum(memory.values()) < made["available_bytes"]
    # Gradients of what is trained, reduced over data as they lie, of what is used twice (the
    # embedding of pieces, by text tower and decoder) at every use; parameters gathered.
    sent = {(tuple(each["axes"]), each["kind"]): 0 for each in made["collectives"]}
    for each in made["collectives"]:
        sent[tuple(each["axes"]), each["kind"]] += each["bytes"] * each["count"]
    over_data = sum(size for (axes, _), size in sent.items() if "data" in axes)
    assert 0.7 * memory["parameters"] < over_data < 1.2 * memory["parameters"]
    assert sent[("fsdp",), "all-gather"] > parameters / 2
    # Forward and backward of an encoder layer alone, on the 8 x 16 places of a device's block.
    matrices = 4 * 32 * 32 + 2 * 32 * 64
    assert made["flops"] > 3 * 2 * matrices * 8 * 16
    assert made["bytes_accessed"] > 2 * memory["parameters"]
    assert made["examples_a_second"] > 0
    assert made["input"]["processes"] == 1


@pytest.mark.long
def test_a_step_compiles_for_a_device_of_some_memory():
    run = run_plan(
        STEP[0],
        *STEP[2:],
        "--device-memory=2GiB",
        "--config.data.blocks_per_batch=4",
    )
    assert run.returncode == 0, run.stderr
    assert "tiny compiled for one device of 2 GiB" in run.stdout
    assert "fits                yes, needs 0." in run.stdout


@pytest.mark.long
def test_a_step_with_the_attention_kernel_compiles_for_tpu():
    run = run_plan(*STEP, "--config.model.attention=kernel", "--config.data.blocks_per_batch=4")
    assert run.returncode == 0, run.stderr
    assert "fits                yes" in run.stdout


@pytest.mark.long
def test_a_step_that_does_not_fit_says_by_how_much_and_what_would():
    run = run_plan(
        *STEP,
        "--config.data.block_size=2048",
        "--config.data.blocks_per_batch=64",
        "--config.mesh.tensor=4",
    )
    assert run.returncode == 1, run.stderr
    assert "of 15.75 GiB a device" in run.stdout
    assert "GiB too much" in run.stdout
    assert run.stdout.count("(about ") == 3
    assert "--config.mesh.tensor=1" in run.stdout  # four blocks at a time on a device, not 64


def test_a_mesh_that_does_not_multiply_is_an_error():
    run = run_plan(*STEP, "--config.mesh.fsdp=3")
    assert run.returncode == 2
    assert "v5e:2x2, 4 devices: mesh data=-1, fsdp=3, tensor=1 does not use" in run.stderr
