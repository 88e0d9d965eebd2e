"""The kernel for packed rows compiles to machine code, where nobody has a TPU."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videobert_jax.models import fused_attention
from videobert_jax.training import topologies

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason='libtpu is not installed: pip install "videobert-jax[tpu-compiler]"',
)


@pytest.mark.parametrize("topology", ["v5e:1x1", pytest.param("v6e:1x1", marks=pytest.mark.long)])
@pytest.mark.parametrize(
    ("rows", "query_length", "key_length", "heads", "head_dim", "dtype"),
    [
        (16, 64, 64, 16, 64, "bfloat16"),  # videobert_large's rows, of which two are one
        (8, 96, 112, 12, 64, "bfloat16"),  # YouCook II's fitted ones
        (4, 140, 9, 2, 128, "bfloat16"),  # whole tiles on no side
        (2, 512, 256, 8, 32, "float32"),
    ],
)
def test_a_kernel_and_its_gradient_compile(
    topology, rows, query_length, key_length, heads, head_dim, dtype
):
    device = topologies.Target(topology, 1).devices()[0]
    mesh = jax.sharding.Mesh(np.array([[[device]]]), ("data", "fsdp", "tensor"))
    whole = jax.NamedSharding(mesh, jax.P())

    def struct(*shape: int, dtype=dtype) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=whole)

    def total(*inputs):
        return fused_attention.by_segments(*inputs).astype(jnp.float32).sum()

    query = struct(rows, query_length, heads, head_dim)
    key = struct(rows, key_length, heads, head_dim)
    segments = (struct(rows, length, dtype="int32") for length in (query_length, key_length))
    with jax.set_mesh(mesh):
        program = jax.jit(jax.grad(total, (0, 1, 2))).lower(query, key, key, *segments).compile()
    assert program.as_text().count("tpu_custom_call") >= 1
