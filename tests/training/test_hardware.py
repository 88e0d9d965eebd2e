"""Accelerators that are there but unused, data-sheet peaks, and FLOPs counted in the program."""

import os
import pathlib
import subprocess
import sys

import etils.epath
import jax
import jax.numpy as jnp
import pytest

from videobert_jax.training import hardware


@pytest.mark.parametrize("file", ["nvidia0", "accel3", "vfio/0"])
def test_an_accelerator_left_unused_is_an_error(tmp_path: pathlib.Path, file: str):
    hardware.require_accelerator_in_use("", "cpu", tmp_path)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    with pytest.raises(hardware.HardwareError, match=f"{file}.*--config.platform=cpu"):
        hardware.require_accelerator_in_use("", "cpu", tmp_path)
    hardware.require_accelerator_in_use("cpu", "cpu", tmp_path)
    hardware.require_accelerator_in_use("", "gpu", tmp_path)


def test_control_files_are_no_accelerators(tmp_path: pathlib.Path):
    for name in ("nvidiactl", "nvidia-uvm", "accel"):
        (tmp_path / name).touch()
    assert hardware.present_accelerators(tmp_path) == []


@pytest.mark.parametrize(
    "kind, peak",
    [
        ("TPU v5 lite", 197e12),
        ("TPU v5", 459e12),
        ("TPU v6 lite", 918e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA A100-SXM4-40GB", 312e12),
        ("TPU v3", None),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40S", None),  # another card, not an L4 of a longer name
        ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA H200 NVL", 835e12),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),  # a seventh of a card
        ("cpu", None),
    ],
)
def test_peaks_are_those_of_the_data_sheets(kind: str, peak: float | None):
    assert hardware.peak_flops(kind) == peak


def test_flops_count_loops_and_recomputation():
    layers, width, rows = 5, 16, 8
    weights = jnp.ones((layers, width, width))

    def forward(weights, x):
        layer = jax.checkpoint(lambda x, w: (jnp.tanh(x @ w), None))
        return jax.lax.scan(layer, x, weights)[0].sum()

    one = 2 * rows * width * width
    structs = jax.eval_shape(lambda: (weights, jnp.ones((rows, width))))
    assert hardware.matmul_flops(forward, *structs) == layers * one
    # backward: two products a layer, and the forward one again under checkpoint
    assert hardware.matmul_flops(jax.grad(forward), *structs) == pytest.approx(layers * one * 4)


def test_flops_of_batched_products():
    struct = jax.ShapeDtypeStruct((3, 4, 5, 6), jnp.float32)

    def scores(q):
        return jnp.einsum("bqnh,bknh->bnqk", q, q)

    assert hardware.matmul_flops(scores, struct) == 2 * 3 * 5 * 4 * 4 * 6


def test_flops_of_a_kernel_are_those_of_all_its_tiles():
    from videobert_jax.models import fused_attention

    query, key = (jax.ShapeDtypeStruct((2, length, 3, 8), jnp.float32) for length in (384, 128))
    segments = (jax.ShapeDtypeStruct((2, length), jnp.int32) for length in (384, 128))
    inputs = (query, key, key, *segments)
    pairs = 2 * 3 * 384 * 128
    assert hardware.matmul_flops(fused_attention.by_segments, *inputs) == 2 * 2 * pairs * 8
    gradient = jax.grad(lambda *inputs: fused_attention.by_segments(*inputs).sum(), argnums=(0, 1))
    # the scores twice again, and five products of the backward pass
    assert hardware.matmul_flops(gradient, *inputs) == 2 * (2 + 2 + 5) * pairs * 8


def test_flops_of_cudnns_attention_are_those_of_its_products(monkeypatch):
    from jax._src.cudnn import fused_attention_stablehlo as cudnn

    from videobert_jax.models import fused_attention

    monkeypatch.setattr(cudnn, "check_cudnn_version", lambda: 91_000)  # there is none here
    query, key = (jax.ShapeDtypeStruct((2, length, 3, 8), jnp.bfloat16) for length in (64, 32))
    segments = (jax.ShapeDtypeStruct((2, length), jnp.int32) for length in (64, 32))
    inputs, pairs = (query, key, key, *segments), 2 * 3 * 64 * 32
    assert hardware.matmul_flops(fused_attention.by_cudnn, *inputs) == 2 * 2 * pairs * 8
    gradient = jax.grad(lambda *inputs: fused_attention.by_cudnn(*inputs).sum().astype("float32"))
    assert hardware.matmul_flops(gradient, *inputs) == 2 * (2 + 5) * pairs * 8


def test_incomplete_process_flags_are_an_error():
    with pytest.raises(hardware.HardwareError, match="missing: --process_id"):
        hardware.start("cpu", "127.0.0.1:1234", 2)


def test_the_first_line_names_the_devices():
    assert hardware.describe(jax.devices()) == "devices: 8 x cpu (cpu), process 0 of 1"


DETERMINISTIC_START = """
import os, pathlib, sys
from unittest import mock
import jax
from videobert_jax.training import hardware
platform, workdir = sys.argv[1:]
with mock.patch.object(hardware, "_platform_to_be", lambda _: platform):
    print(hardware.start("cpu", deterministic_in=pathlib.Path(workdir)))
print(os.environ.get("XLA_FLAGS", ""))
products = jax.jit(lambda x: jax.lax.fori_loop(0, 9, lambda _, y: jax.numpy.sin(y @ y), x))
products(jax.numpy.ones((8, 8)))
print(len(list(pathlib.Path(workdir).rglob("*-cache"))))
"""


def deterministic_start(platform: str, workdir: pathlib.Path) -> list[str]:
    """What a process says that takes its CPU for such a platform: the flags that it has set when
    jax has started, and how many programs it has kept in the workdir."""
    environment = {**os.environ, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    environment.pop("XLA_FLAGS", None)
    found = subprocess.run(
        [sys.executable, "-c", DETERMINISTIC_START, platform, str(workdir)],
        env=environment,
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr[-2000:]
    return found.stdout.splitlines()


def test_a_deterministic_run_keeps_programs_and_choices_in_its_workdir(tmp_path: pathlib.Path):
    *_, flags, kept = deterministic_start("gpu", tmp_path)
    assert "--xla_gpu_exclude_nondeterministic_ops=true" in flags.split()
    assert int(kept) > 0 and (tmp_path / hardware.KEPT_PROGRAMS).is_dir()


def test_on_cpu_a_deterministic_run_changes_nothing_and_says_so(tmp_path: pathlib.Path):
    _, said, flags, kept = deterministic_start("cpu", tmp_path)
    assert said == "deterministic: nothing to do on cpu, which sums in one order"
    assert (flags, kept) == ("", "0") and list(tmp_path.iterdir()) == []


def test_a_bucket_cannot_keep_what_autotuning_chose(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hardware, "_platform_to_be", lambda _: "gpu")
    monkeypatch.setenv("XLA_FLAGS", "")
    bucket = etils.epath.Path("gs://bucket/run")
    with pytest.raises(hardware.HardwareError, match="on a disk that all processes see"):
        hardware.start("cpu", deterministic_in=bucket)


def test_what_determinism_costs_is_said(tmp_path: pathlib.Path):
    said = hardware.determinism("gpu", tmp_path)
    assert "--xla_gpu_exclude_nondeterministic_ops" in said and str(tmp_path / "compiled") in said
    assert "It costs the faster forms of scatters and products" in said
