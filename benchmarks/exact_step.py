"""What an exact step costs beside an ordinary one: time, and memory of a device.

    python -m benchmarks.exact_step [--json FILE] [--rounds 7] [--mesh 2 1] [--blocks 8]

A small network on CPU devices, mesh DATA FSDP, takes an exact step, an ordinary one, and one that
accumulates as many micro-batches as a device has blocks, by turns on one made batch; `ratio` is the
median time of the exact one by that of the ordinary one. Memory is what the compiler says.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from benchmarks import alternate, our_step
from configs import tiny
from videobert_jax import configuration, schema
from videobert_jax.models.videobert import VideoBert
from videobert_jax.sharding import mesh as meshes
from videobert_jax.sharding import partitioning
from videobert_jax.training import abstract_step, optimizer, state

ROWS, VOCABULARY = 8, 300
SHAPE = schema.RowShape(
    examples=2,
    text_length=32,
    video_length=24,
    masked_text=6,
    masked_video=6,
    feature_dim=64,
    weighted_text=0,
    target_length=0,
    answered=0,
    labelled=0,
)
SETTINGS: dict[str, Any] = {
    "model.embed_dim": 128,
    "model.feed_forward_dim": 512,
    "model.decoder.num_layers": 0,
    "data.target_length": 0,
    "model.bag_of_words_head": False,
    "objectives.bag_of_words.weight": 0.0,
    "objectives.captioning.weight": 0.0,
    "data.examples_per_row": 2,
    "data.block_size": 2 * ROWS,
    "optimizer.warmup_steps": 1,
}


def steps(data: int, fsdp: int, blocks: int) -> dict[str, abstract_step.AbstractStep]:
    """The exact step, the ordinary one, and that a block at a time."""
    mesh = meshes.create_mesh(meshes.MeshConfig(data, fsdp, 1))
    kinds = {
        "exact": {"exact": True},
        "ordinary": {},
        "ordinary, accumulating": {"training.accumulation_steps": blocks // (data * fsdp)},
    }
    made = {}
    for kind, changed in kinds.items():
        config = tiny.get_config()
        for name, value in {**SETTINGS, "data.blocks_per_batch": blocks, **changed}.items():
            configuration.apply_override(config, name, str(value))
        run = configuration.parse(config)
        network = configuration.resolve_model(
            run, vocabulary_size=VOCABULARY, feature_dim=SHAPE.feature_dim
        )
        model = VideoBert(network)
        rule = optimizer.create_rule(run.optimizer, run.training.num_steps, model)
        made[kind] = abstract_step.of(run, model, rule, mesh, SHAPE)
    return made


def timed(step: abstract_step.AbstractStep, blocks: int) -> Callable[[], float]:
    """Takes the step once more; seconds."""
    current = state.create_state(step.model, step.rule, step.mesh, 0, None)
    layout = partitioning.batch_sharding(step.mesh)
    batch = jax.device_put(our_step.full_batch(SHAPE, blocks, ROWS, VOCABULARY), layout)

    def once() -> float:
        nonlocal current
        begun = time.perf_counter()
        with jax.set_mesh(step.mesh):
            current, figures = step.program(current, batch)
        jax.block_until_ready(figures)
        return time.perf_counter() - begun

    once()
    return once


def measure(data: int, fsdp: int, blocks: int, rounds: int) -> dict[str, Any]:
    """The benchmark's record."""
    made = steps(data, fsdp, blocks)
    memory = {
        kind: step.program.memory_analysis().temp_size_in_bytes for kind, step in made.items()
    }
    runs = {kind: timed(step, blocks) for kind, step in made.items()}
    seconds: dict[str, list[float]] = {kind: [] for kind in runs}
    for _ in range(rounds):
        for kind, once in runs.items():
            seconds[kind].append(once())
    medians = {kind: statistics.median(found) for kind, found in seconds.items()}
    for kind, median in medians.items():
        print(f"{kind}: {median:.3f} s a step, {memory[kind] / 2**20:.1f} MiB a device", flush=True)
    return {
        "benchmark": "exact_step",
        "ratio": medians["exact"] / medians["ordinary"],
        "figures": {
            "mesh": {"data": data, "fsdp": fsdp},
            "blocks": blocks,
            "seconds": seconds,
            "temporary_bytes": memory,
            "parameters": made["exact"].num_parameters,
        },
        **alternate.circumstances([]),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", help="file to write the record to")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--mesh", type=int, nargs=2, default=(2, 1), metavar=("DATA", "FSDP"))
    parser.add_argument("--blocks", type=int, default=8, help="of a batch, a power of two")
    given = parser.parse_args(arguments)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", given.mesh[0] * given.mesh[1])
    alternate.write(measure(*given.mesh, given.blocks, given.rounds), given.json)


if __name__ == "__main__":
    main()
