"""What programs are known to send, read out of what the TPU compiler makes of them."""

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

# Four chips, 2 x 2. A loop of five reductions along "data", in which each depends on the one
# before; one gather along "fsdp" behind it; a layer whose weights are split over "fsdp", three
# times, with its gradients. Over fsdp alone: BERT's table of pieces, of which a device
# has 96 lanes.
PROGRAM = """
import json
import jax, jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec as P
from videobert_jax.sharding import mesh as meshes, partitioning
from videobert_jax.training import collectives, hlo, steps, topologies

mesh = meshes.create_mesh(meshes.MeshConfig(2, 2, 1), topologies.devices("v5e:2x2"))

def reduce_and_gather(x):
    def body(carry, _):
        return jnp.sin(jax.lax.psum(carry, "data")), None
    summed, _ = jax.lax.scan(body, x, None, length=5)
    return jax.lax.all_gather(summed, "fsdp", tiled=True)

def layers(weights, x):
    def loss(weights):
        def body(carry, weight):
            return jnp.tanh(carry @ weight), None
        return (jax.lax.scan(body, x, weights)[0] ** 2).sum()
    return jax.grad(loss)(weights)

def pieces(table, x):
    def loss(table):
        whole = partitioning.gathered(table, ("vocabulary", "embed"), jnp.bfloat16)
        logits = jnp.einsum("bc,wc->bw", x, whole, preferred_element_type=jnp.float32)
        return jax.nn.logsumexp(logits, axis=-1).sum()
    return jax.grad(loss)(table)

def found(function, out, *arguments, mesh=mesh):
    structs = [
        jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, spec))
        for shape, spec in arguments
    ]
    with jax.set_mesh(mesh):
        if not isinstance(out, NamedSharding):
            out = NamedSharding(mesh, out)
        jitted = jax.jit(function, out_shardings=out)
        program = hlo.read(jitted.lower(*structs).compile().as_text())
    totals = {}
    for each in collectives.collectives(program, mesh.shape):
        name = f"{each.kind} {'.'.join(each.axes)}"
        count, size = totals.get(name, (0, 0))
        totals[name] = (count + each.count, size + each.bytes_a_step)
    return totals

def scattered_over(mesh):
    def scattered(x):
        return jax.lax.psum_scatter(jnp.sin(x), "fsdp", scatter_dimension=0, tiled=True)
    mapped = jax.shard_map(
        scattered, mesh=mesh, in_specs=P(), out_specs=P("fsdp"), check_vma=False
    )
    return found(mapped, P("fsdp"), ((32768, 768), P()), mesh=mesh)

def summed_in_parts(mesh):
    parted = meshes.for_updates(mesh, meshes.data_parts(mesh))
    layout = NamedSharding(parted, P("data"))
    def summed(copies):
        return steps._summed_in_parts(jnp.sin(copies), layout)
    size = mesh.shape["data"]
    sent = found(summed, layout, ((size, 32768, 768), P("data")), mesh=mesh)
    return {"parts": parted.shape["data"], **sent}

SLICES = (("v5e:2x4", 8), ("v5e:4x4", 16), ("v6e:4x4", 16), ("v5p:2x2x4", 16))
split = P(("data", "fsdp"))
mapped = jax.shard_map(
    reduce_and_gather, mesh=mesh, in_specs=split, out_specs=P(), check_vma=False
)
print(json.dumps({
    "manual": found(mapped, P(), ((4096, 128), split)),
    "layers": found(
        layers, P(None, "fsdp"), ((3, 512, 512), P(None, "fsdp")), ((512, 512), split)
    ),
    "whole_slice": {
        name: scattered_over(
            meshes.create_mesh(meshes.MeshConfig(1, size, 1), topologies.devices(name))
        )
        for name, size in SLICES
    },
    "in_parts": {
        name: summed_in_parts(
            meshes.create_mesh(meshes.MeshConfig(size, 1, 1), topologies.devices(name))
        )
        for name, size in SLICES[1:]
    },
    "pieces": found(
        pieces,
        P(None, "fsdp"),
        ((30592, 384), P(None, "fsdp")),
        ((512, 384), split),
        mesh=meshes.create_mesh(meshes.MeshConfig(1, 4, 1), topologies.devices("v5e:2x2")),
    ),
}))
"""


@pytest.fixture(scope="module")
def found():
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=400
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_a_loop_of_reductions_and_a_gather(found):
    shard = 4096 // 4 * 128 * 4
    assert found["manual"] == {
        "all-reduce data": [5, 5 * shard],
        "all-gather fsdp": [1, 2 * shard],
    }


def test_split_weights_are_gathered_and_their_gradients_reduced(found):
    weights = 3 * 512 * 512
    layers = found["layers"]
    # Forward and backward, in the bfloat16 that the matrix unit takes.
    assert layers["all-gather fsdp"][1] == 2 * weights * 2
    gradients = {kind: size for kind, (_, size) in layers.items() if "gather" not in kind}
    # Over fsdp as they come, float32, and a device's part of them over data.
    assert gradients == {"reduce-scatter fsdp": weights * 4, "all-reduce data": weights * 4 // 2}


def test_the_gradient_of_a_table_is_scattered_where_a_part_of_it_does_not_fill_the_lanes(found):
    table = 30592 * 384
    sent = {kind: size for kind, (_, size) in found["pieces"].items()}
    assert sent["all-gather fsdp"] == table * 2
    # By rows, in float32, with some rows more; then a device's rows, to its part of the width.
    assert table * 4 <= sent["reduce-scatter fsdp"] < 1.02 * table * 4
    assert sent["all-to-all fsdp"] == table * 2 // 4
    assert "all-reduce fsdp" not in sent


def test_over_all_chips_of_a_slice_of_two_dimensions_the_compiler_sums_whole(found):
    """Why sums over sixteen chips are made in parts (`meshes.data_parts`); where this fails, the
    compiler is a newer one that scatters."""
    kinds = {name: [*sent] for name, sent in found["whole_slice"].items()}
    whole = ["all-reduce fsdp"]
    assert kinds == {
        "v5e:2x4": ["collective-permute fsdp", "reduce-scatter fsdp"],  # rows are padded
        "v5e:4x4": whole,
        "v6e:4x4": whole,
        "v5p:2x2x4": whole,
    }


def test_in_parts_of_such_a_slice_it_scatters(found):
    """What the update of `optimizer.shard_over_data` asks for there; the sum of the parts follows,
    along the dimension that is left."""
    size = 32768 * 768 * 4
    for name, sent in found["in_parts"].items():
        parts = sent.pop("parts")
        assert parts == (8 if name == "v5p:2x2x4" else 4)
        assert set(sent) <= {"reduce-scatter data", "all-reduce data", "collective-permute data"}
        assert sent["reduce-scatter data"][1] == pytest.approx(size, rel=0.01)  # rows are padded
        assert sent["all-reduce data"] == [1, size // parts], name
        assert sent.get("collective-permute data", [0, 0])[1] < 0.01 * size, name
