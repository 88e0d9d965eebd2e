"""Budgets of compiled steps: memory of a device, bytes sent, and a state that is updated in place.

    python -m tests.drills.compile_budgets --shard 1/4 --results runs/compile_budgets.jsonl

Each target, a config on a topology and a mesh, is what the TPU compiler schedules. A finished one
is a line of the results and is skipped; `--shard i/n` takes every n-th, so that several machines
share them. Compile times are recorded and bound nothing.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
from typing import Any

from videobert_jax import configuration
from videobert_jax.training import (
    abstract_step,
    ahead,
    collectives,
    hardware,
    least_traffic,
    plan,
    topologies,
)

ROOT = pathlib.Path(__file__).resolve().parents[2]
FEATURE_DIM = 1024  # I3D's
SLACK = 1.2  # of what the algorithm has to send
SMALL_BYTES = 2**16  # scalars of metrics, norms and identities, whatever the network


@dataclasses.dataclass(frozen=True)
class Target:
    """A config on so many slices of a topology, with some settings changed."""

    config: str
    topology: str
    settings: tuple[str, ...] = ()
    slices: int = 1

    @property
    def place(self) -> topologies.Target:
        return topologies.Target(self.topology, self.slices)

    @property
    def name(self) -> str:
        return " ".join((self.config, self.place.name, *self.settings))


# Every real network, every kind of chip, every axis, several slices, accumulation, ZeRO-1.
TARGETS = (
    Target("videobert_large", "v5p:4x4x4"),
    Target("videobert_large", "v6e:4x4", ("data.blocks_per_batch=16",)),
    Target("videobert_large", "v5e:16x16", ("data.blocks_per_batch=256",)),
    Target("videobert_large", "v5e:4x8", ("data.blocks_per_batch=64",), slices=2),
    Target("videobert_large", "v5p:2x2x4", ("mesh.fsdp=4", "mesh.tensor=2")),
    Target("videobert_base", "v5e:4x4"),
    Target("videobert_base", "v5e:4x4", ("optimizer.shard_over_data=true",)),
    Target("videobert_base", "v6e:2x2", ("training.accumulation_steps=4",)),
    Target("videobert_base", "v4:2x2x4", ("mesh.fsdp=8",)),
    Target("howto100m", "v5e:4x4", ("optimizer.shard_over_data=true",)),
    Target("videobert_visual_words", "v5e:2x2", ("data.blocks_per_batch=4",)),
    Target("univl_stage1", "v6e:2x4"),
    Target("univl_stage2", "v6e:2x4"),
    Target("taco", "v5e:2x2", ("data.blocks_per_batch=4",)),
    Target("videoclip", "v4:2x2x1"),
)

# Small enough for every change: parameters alone over data, over fsdp, and over both in two slices.
_SMALL = (
    "model.embed_dim=256",
    "model.feed_forward_dim=1024",
    "model.dropout_rate=0",
    "model.decoder.num_layers=0",
    "data.target_length=0",
    "objectives.captioning.weight=0",
    "objectives.masked_video.weight=0",
    "objectives.matching.negatives=uniform",
    "objectives.contrastive.chunks=1",
)
SMALL_TARGETS = (
    Target("tiny", "v5e:2x2", ("data.blocks_per_batch=4", *_SMALL)),
    Target("tiny", "v5e:2x2", ("data.blocks_per_batch=4", "mesh.fsdp=4", *_SMALL)),
    Target("tiny", "v5e:2x2", ("data.blocks_per_batch=8", "mesh.fsdp=4", *_SMALL), slices=2),
)


def run_of(target: Target) -> Any:
    """Settings of a target, of the first stage that it has."""
    config = configuration.load_file(str(ROOT / "configs" / f"{target.config}.py"))
    for setting in target.settings:
        configuration.apply_override(config, *setting.split("=", 1))
    return next(iter(configuration.parse(config).in_stages().values()))


def measure(target: Target) -> dict[str, Any]:
    """Figures of a target as the compiler schedules it, and what of them is over budget."""
    run, slices = run_of(target), target.place
    mesh = abstract_step.abstract_mesh(run.mesh, slices.num_devices)
    step = abstract_step.build(run, mesh, FEATURE_DIM, slices.platform)
    least = least_traffic.least_sent(run, step.model, step.rule, mesh.shape, target.slices)
    made = ahead.schedule(run, slices, FEATURE_DIM)
    found: dict[str, Any] = {
        "target": target.name,
        "mesh": made.traced.mesh,
        "available_bytes": slices.available_bytes,
        "state_bytes": abstract_step.shard_bytes(step.state),
        "least_bytes": {kind: each.total for kind, each in least.items()},
        "compile_seconds": made.seconds,
    }
    if made.memory is None or made.program is None:
        return {**found, "problems": [made.refusal]}
    sent = collectives.totals(
        collectives.collectives(made.program, made.traced.mesh, target.slices)
    )
    found |= {
        "needed_bytes": made.memory.total + plan.CODE_BYTES,
        "aliased_bytes": made.memory.aliased,
        "sent_bytes": sum(total.sent_a_step for total in sent),
        "sent_by_kind": {f"{total.kind} {total.where}": total.sent_a_step for total in sent},
    }
    return {**found, "problems": problems(found)}


def problems(found: dict[str, Any]) -> list[str]:
    """What is over its budget."""
    said = []
    if found["needed_bytes"] > found["available_bytes"]:
        said.append("more memory than a device has")
    least = sum(found["least_bytes"].values())
    if found["sent_bytes"] > SLACK * least + SMALL_BYTES:
        said.append(f"sends {found['sent_bytes'] / least:.2f} times the least")
    if found["aliased_bytes"] < found["state_bytes"]:
        said.append("the state is not updated in place")
    return said


def shard_of(text: str) -> tuple[Target, ...]:
    """The targets of "i/n", i from 1 to n."""
    number, count = map(int, text.split("/"))
    if not 1 <= number <= count:
        raise ValueError(f"--shard={text}: say i/n, i from 1 to n.")
    return TARGETS[number - 1 :: count]


def main() -> int:
    """0 where every target of the shard is within its budgets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shard", type=shard_of, default=TARGETS, help="i/n; default all targets")
    parser.add_argument(
        "--results", type=pathlib.Path, default=pathlib.Path("runs/compile_budgets.jsonl")
    )
    arguments = parser.parse_args()
    hardware.keep_to_host()
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    lines = arguments.results.read_text().splitlines() if arguments.results.is_file() else []
    done = {found["target"]: found for found in map(json.loads, lines)}
    for target in arguments.shard:
        if target.name not in done:
            done[target.name] = measure(target)
            with open(arguments.results, "a") as file:
                file.write(json.dumps(done[target.name]) + "\n")
        print(json.dumps(done[target.name]), flush=True)
    return 1 if any(done[target.name]["problems"] for target in arguments.shard) else 0


if __name__ == "__main__":
    sys.exit(main())
