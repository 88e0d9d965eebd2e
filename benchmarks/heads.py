"""The masked language head on gathered positions against logits at every position.

    python -m benchmarks.heads [--json FILE]

Forward and backward of the head and its loss at a vocabulary of 32,000, for 64 rows of 32 pieces,
768 wide, as configs/base.py masks them, float32. Both sides have the same loss, which is compared.
`ratio` is the time with logits at every position by that with gathered ones, medians of
alternating runs. Memory, each side in a process of its own: what the compiler says of the program's
temporary arrays, and how far the process' memory rises in its first run, with what that gives back.
"""

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from benchmarks import alternate
from configs import base
from videobert_jax import configuration, schema
from videobert_jax.data.block import BlockSettings
from videobert_jax.models import heads
from videobert_jax.models.config import ModelConfig
from videobert_jax.objectives import masked_language

VOCABULARY, ROWS = 32_000, 64
SIDES = ("gathered", "everywhere")
_EQUAL = 1e-4  # by which the losses of the two sides may differ, relative
_STATUS, _CLEAR = pathlib.Path("/proc/self/status"), pathlib.Path("/proc/self/clear_refs")


def block_of(shape: schema.RowShape) -> schema.Batch:
    """Rows of one text each that fill them, all slots in use."""
    generator = np.random.default_rng(0)
    made = schema.zero_block(shape, ROWS)
    order = np.argsort(generator.random((ROWS, shape.text_length)))
    made.text_slots[:] = order[:, : shape.masked_text]
    made.text_targets[:] = generator.integers(5, VOCABULARY, made.text_targets.shape)
    made.text_slot_weights[:] = 1
    return made


def everywhere(made: schema.Batch, text_length: int) -> schema.Batch:
    """The same targets, with a slot at every position; those that are not told have no weight."""
    rows = np.arange(ROWS)[:, None]
    places = np.broadcast_to(np.arange(text_length, dtype=np.int32), (ROWS, text_length))
    targets = np.zeros((ROWS, text_length), np.int32)
    weights = np.zeros((ROWS, text_length), np.float32)
    targets[rows, made.text_slots] = made.text_targets
    weights[rows, made.text_slots] = made.text_slot_weights
    return dataclasses.replace(
        made, text_slots=places, text_targets=targets, text_slot_weights=weights
    )


class Side:
    """The head with its gradients, compiled, and its inputs."""

    def __init__(self, name: str):
        config = base.get_config()
        config.model.compute_dtype = "float32"
        run = configuration.parse(config)
        network = configuration.resolve_model(run, vocabulary_size=VOCABULARY, feature_dim=1)
        shape = BlockSettings.from_config(run.data, 0, 1, answered=False).shape
        made = block_of(shape)
        gathers = name == "gathered"
        self.positions = ROWS * (shape.masked_text if gathers else shape.text_length)
        block = jax.device_put(made if gathers else everywhere(made, shape.text_length))
        self._inputs = (*_inputs(network, shape.text_length), block)
        head = heads.MaskedLanguageHead(network)

        def loss(params: Any, table: jax.Array, fused: jax.Array, block: Any) -> jax.Array:
            slots = heads.gather_slots(fused, block.text_slots) if gathers else fused
            logits = head.apply({"params": params}, slots, table)
            return masked_language.total(logits, block) / masked_language.weight(block)

        gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))
        self._program = gradients.lower(*self._inputs).compile()
        self.temporary_bytes = self._program.memory_analysis().temp_size_in_bytes

    def loss(self) -> float:
        """Runs forward and backward; waits for all of it."""
        value, _ = jax.block_until_ready(self._program(*self._inputs))
        return float(value)

    def runs_per_second(self) -> float:
        begun = time.perf_counter()
        self.loss()
        return 1.0 / (time.perf_counter() - begun)


def _inputs(network: ModelConfig, text_length: int) -> tuple[Any, jax.Array, jax.Array]:
    """(parameters of the head, piece embeddings, fused text), random."""
    keys = jax.random.split(jax.random.key(0), 3)
    fused = jax.random.normal(keys[0], (ROWS, text_length, network.embed_dim))
    table = 0.02 * jax.random.normal(keys[1], (VOCABULARY, network.embed_dim))
    head = heads.MaskedLanguageHead(network)
    return nn.unbox(head.init(keys[2], fused[:1, :1], table))["params"], table, fused


def of_process(name: str) -> dict[str, Any]:
    """What a side needs, in this process: None where the system does not tell memory so."""
    side = Side(name)
    if not _CLEAR.exists():
        return {"temporary": side.temporary_bytes, "measured": None, "loss": side.loss()}
    _CLEAR.write_text("5")  # the peak begins anew; see proc(5)
    before = _status("VmRSS")
    loss = side.loss()
    measured = _status("VmHWM") - before
    return {"temporary": side.temporary_bytes, "measured": measured, "loss": loss}


def _status(field: str) -> int:
    """Bytes of a field of /proc/self/status."""
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return int(lines[field].split()[0]) * 1024


def _in_process(name: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.heads", "--side", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise alternate.BenchmarkError(f"{name} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(rounds: int) -> dict[str, Any]:
    """The benchmark's record. Raises BenchmarkError where the sides' losses differ."""
    memory = {name: _in_process(name) for name in SIDES}
    gathered, whole = (memory[name]["loss"] for name in SIDES)
    if abs(gathered / whole - 1) > _EQUAL:
        raise alternate.BenchmarkError(f"the losses are not equal: {gathered}, {whole}")
    sides = {name: Side(name) for name in SIDES}
    peers = {SIDES[1]: sides[SIDES[1]].runs_per_second}
    rates = alternate.run(sides[SIDES[0]].runs_per_second, peers, rounds=rounds)

    def times(kind: str) -> float | None:
        sizes = [memory[name][kind] for name in SIDES]
        return None if None in sizes else sizes[1] / sizes[0]

    figures = {
        "vocabulary": VOCABULARY,
        "positions": {name: side.positions for name, side in sides.items()},
        "seconds": {SIDES[0]: 1 / rates.ours_median, SIDES[1]: 1 / rates.peer_median},
        "loss": gathered,
        "temporary_bytes": {name: memory[name]["temporary"] for name in SIDES},
        "measured_bytes": {name: memory[name]["measured"] for name in SIDES},
        "temporary_bytes_ratio": times("temporary"),
        "measured_bytes_ratio": times("measured"),
    }
    return alternate.record("heads", rates, "runs/s", ["flax"], figures)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", help="file to write the record to")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    jax.config.update("jax_platforms", "cpu")
    if given.side:
        print(json.dumps(of_process(given.side)))
        return
    alternate.write(measure(given.rounds), given.json)


if __name__ == "__main__":
    main()
