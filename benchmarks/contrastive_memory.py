"""Memory of the contrastive loss, forward and backward, over a large global batch.

    python -m benchmarks.contrastive_memory [--json FILE] [--batch 8192] [--dim 512]

The loss of the training step is compiled for eight CPU devices, whose blocks it shares, with one
chunk and with more (`objectives.contrastive.chunks`): what the compiler says of a device's
temporary memory, and the largest array of the program, beside the matrix of all similarities. So
nothing of it depends on the machine. `ratio` is the memory with one chunk by that with the most.
"""

import argparse
import math
import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import alternate
from videobert_jax import schema
from videobert_jax.objectives import contrastive
from videobert_jax.objectives.config import ContrastiveConfig
from videobert_jax.sharding import mesh as meshes
from videobert_jax.sharding import partitioning

DEVICES, ROWS, CHUNKS = 8, 256, (1, 4, 16, 64)
_ARRAY = re.compile(r"\b[a-z]+\d*\[([\d,]+)\]")


def compiled(batch: int, dim: int, rows: int, chunks: int, near_clips: int) -> Any:
    """The loss and its gradients for `batch` examples in blocks of `rows`, a row each, over all
    devices there are; compiled, nothing is computed."""
    mesh = meshes.create_mesh(meshes.MeshConfig(-1, 1, 1))
    sharding = partitioning.batch_sharding(mesh)
    blocks = batch // rows

    def struct(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    shape = schema.RowShape(1, 1, 1, 1, 1, 1, 0, 0, 0, 0)
    structs = jax.tree.map(
        lambda leaf: struct(leaf.shape, leaf.dtype), schema.batch_structs(shape, blocks, rows)
    )
    embeddings = struct((blocks, rows, 1, dim), jnp.float32)
    config = ContrastiveConfig(weight=1.0, near_clips=near_clips, chunks=chunks)

    def loss(text: jax.Array, video: jax.Array, scale: jax.Array, made: schema.Batch) -> jax.Array:
        return contrastive.total(text, video, scale, made, config, 2)

    gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))
    scale = jax.ShapeDtypeStruct((), jnp.float32)
    with jax.set_mesh(mesh):
        return gradients.lower(embeddings, embeddings, scale, structs).compile()


def largest_array(program: Any) -> int:
    """Elements of the largest array that a device's program names."""
    shapes = _ARRAY.findall(program.as_text())
    return max(math.prod(map(int, shape.split(","))) for shape in shapes)


def measure(batch: int, dim: int) -> dict[str, Any]:
    """The benchmark's record."""
    temporary, largest = {}, {}
    for chunks in CHUNKS:
        program = compiled(batch, dim, ROWS, chunks, near_clips=2)
        temporary[chunks] = program.memory_analysis().temp_size_in_bytes
        largest[chunks] = largest_array(program)
        print(f"{chunks} chunks: {temporary[chunks] / 2**20:,.1f} MiB a device", flush=True)
    return {
        "benchmark": "contrastive_memory",
        "ratio": temporary[CHUNKS[0]] / temporary[CHUNKS[-1]],
        "figures": {
            "unit": "bytes a device",
            "batch": batch,
            "dim": dim,
            "devices": jax.device_count(),
            "all_similarities_bytes": 4 * batch**2,
            "gathered_embeddings_bytes": 2 * 4 * batch * dim,
            "temporary_bytes": {str(chunks): size for chunks, size in temporary.items()},
            "largest_array_elements": {str(chunks): size for chunks, size in largest.items()},
        },
        **alternate.circumstances([]),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", help="file to write the record to")
    parser.add_argument("--batch", type=int, default=8192, help="examples, a multiple of 2048")
    parser.add_argument("--dim", type=int, default=512, help="of the joint space")
    given = parser.parse_args(arguments)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", DEVICES)
    if given.batch % (DEVICES * ROWS):
        parser.error(f"--batch {given.batch} is no multiple of {DEVICES * ROWS}")
    alternate.write(measure(given.batch, given.dim), given.json)


if __name__ == "__main__":
    main()
