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


def test_a_step_compiles_for_tpu_and_its_needs_are_told():
    run = run_plan(*STEP, "--json", "--config.data.blocks_per_batch=4", "--config.mesh.fsdp=2")
    assert run.returncode == 0, run.stderr
    made = json.loads(run.stdout)
    assert made["fits"] is True
    assert made["num_devices"] == 4
    assert made["mesh"] == {"data": 2, "fsdp": 2, "tensor": 1}
    assert made["device_kind"].startswith("TPU")
    assert made["collectives"]["all-reduce"] > 0  # of gradients over the blocks
    assert made["collectives"]["all-gather"] > 0  # of parameters that fsdp splits
    assert made["argument_bytes"] > 3 * 4 * made["parameters"] / 2  # with both moments, by fsdp
    assert made["peak_bytes"] > made["argument_bytes"]
    # Forward and backward of an encoder layer alone, on the 8 x 16 places of a device's block.
    matrices = 4 * 32 * 32 + 2 * 32 * 64
    assert made["flops"] > 3 * 2 * matrices * 8 * 16


def test_a_step_with_the_attention_kernel_compiles_for_tpu():
    run = run_plan(*STEP, "--config.model.attention=kernel", "--config.data.blocks_per_batch=4")
    assert run.returncode == 0, run.stderr
    assert "fits                yes" in run.stdout


def test_a_step_that_does_not_fit_says_how_much_it_needs():
    run = run_plan(
        *STEP,
        "--config.data.block_size=2048",
        "--config.data.blocks_per_batch=64",
        "--config.mesh.tensor=4",
    )
    assert run.returncode == 1, run.stderr
    assert "fits                NO" in run.stdout
    assert "GiB a device, has 15.75 GiB" in run.stdout
