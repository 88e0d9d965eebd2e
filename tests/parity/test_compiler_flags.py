"""The compilers know the flags that they are told: one that they do not know ends the process."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
COMPILE_FOR_TPU = """
import jax, jax.numpy as jnp, numpy as np
from videobert_jax.training import compiler_flags, topologies
compiler_flags.say("tpu")
devices = topologies.devices("v5e:2x2")
mesh = jax.sharding.Mesh(np.array(devices), ("data",))
layout = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
values = jax.ShapeDtypeStruct((512, 512), jnp.bfloat16, sharding=layout)
print(jax.jit(lambda x: (x @ x).sum()).lower(values).compile().as_text()[:9])
"""
START = """
from videobert_jax.training import compiler_flags
compiler_flags.say("gpu", deterministic=True)
import jax
print("HloModule", jax.numpy.ones(2).sum())
"""


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: flags are read once."""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason='libtpu is not installed: pip install "videobert-jax[tpu-compiler]"',
)
def test_libtpu_knows_its_flags():
    compiled = run(COMPILE_FOR_TPU)
    assert compiled.stdout.startswith("HloModule"), compiled.stderr
    unknown = run(COMPILE_FOR_TPU, LIBTPU_INIT_ARGS="--xla_tpu_no_such_flag=true")
    assert "HloModule" not in unknown.stdout and "xla_tpu_no_such_flag" in unknown.stderr


def test_jaxlib_knows_those_of_gpus():
    started = run(START)
    assert started.stdout.startswith("HloModule"), started.stderr
    unknown = run(START, XLA_FLAGS="--xla_gpu_no_such_flag=true")
    assert "HloModule" not in unknown.stdout and "xla_gpu_no_such_flag" in unknown.stderr
