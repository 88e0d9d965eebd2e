"""Speed of the training step: against LXMERT on CPU, or by itself on an accelerator.

    python -m benchmarks.train_step --against lxmert [--json FILE]
    python -m benchmarks.train_step --device gpu [--annotations FILE] [--profile DIR] [--json FILE]
    python -m benchmarks.train_step --device cpu --config configs/tiny.py --blocks 1 --rounds 1

Against LXMERT both sides train equal networks on equal batches, float32: word prediction at
gathered positions plus the mean square of the video output, dropout 0.1, none in attention,
clipping, AdamW. Ours is the step of the training loop, with that mean square in the place of
masked video modelling.

On a device (gpu, tpu; cpu to try it) it is the step of configs, packed rows and all objectives,
with the shares of the rate of a large product (`matmul_fraction`) and of the data sheet's peak
(`mfu`) that it reaches; and beside it PyTorch on the same device: our network written there, and
LXMERT (benchmarks/on_device.py says how). TensorFlow is not needed.
"""

import argparse
import dataclasses
import functools
import os
import pathlib
import sys
from typing import Any

import jax

from benchmarks import alternate, layouts, lxmert, on_device, our_step
from videobert_jax import configuration
from videobert_jax.cli import failures

TARGET = 1.4  # ours by LXMERT's
_EQUAL = 0.02  # by which parameters and FLOPs of the two sides may differ


def against_lxmert(rounds: int, steps_a_run: int) -> dict[str, Any]:
    """The record of alternating runs. Raises BenchmarkError where the networks are not equal."""
    sizes = lxmert.Sizes()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    peer = lxmert.Peer(sizes, threads=cores or 1)
    ours = our_step.ours_like_lxmert(sizes)
    figures = {
        "parameters": {"ours": ours.num_parameters, "peer": peer.num_parameters},
        "flops_a_step": {"ours": ours.flops, "peer": peer.flops()},
    }
    for name, values in figures.items():
        print(f"{name}: ours {values['ours']:,.0f}, LXMERT {values['peer']:,.0f}")
        if abs(values["ours"] / values["peer"] - 1) > _EQUAL:
            raise alternate.BenchmarkError(f"the networks are not equal: {name} {values}")
    rates = alternate.run(
        functools.partial(ours.examples_per_second, steps_a_run),
        {"LXMERT, fused AdamW": functools.partial(peer.examples_per_second, steps_a_run)},
        rounds=rounds,
    )
    return alternate.record(
        "train_step",
        rates,
        "examples/s",
        ["flax", "optax", "torch", "transformers"],
        {
            **figures,
            "seconds_a_step": {
                "ours": sizes.rows / rates.ours_median,
                "peer": sizes.rows / rates.peer_median,
            },
            "gflops": {
                "ours": ours.flops * rates.ours_median / sizes.rows / 1e9,
                "peer": figures["flops_a_step"]["peer"] * rates.peer_median / sizes.rows / 1e9,
            },
            "network": dataclasses.asdict(sizes),
            "target": TARGET,
        },
    )


def run(arguments: argparse.Namespace) -> int:
    """0; 1 where the ratio is below the target."""
    if arguments.against is not None:
        jax.config.update("jax_platforms", "cpu")
        record = against_lxmert(arguments.rounds, arguments.steps)
        alternate.write(record, arguments.json)
        print(f"ratio {record['ratio']:.3f}, target {TARGET}")
        return 0 if record["ratio"] >= TARGET else 1
    return run_on_device(arguments)


def run_on_device(arguments: argparse.Namespace) -> int:
    """0; 1 where a peer failed. Targets, which are of one kind of device, stand beside the figures
    and decide nothing."""
    peers = [] if arguments.alone or arguments.device == "tpu" else list(on_device.PEERS)
    on_device.start(arguments.device, shares_memory=bool(peers))
    configs = {}
    for path in arguments.config:
        config = configuration.load_file(path)
        for setting in ("mesh.data=-1", "mesh.fsdp=1", *arguments.set):
            configuration.apply_override(config, *setting.split("=", 1))
        parsed = configuration.parse(config)
        settings = layouts.Settings(
            run=parsed,
            blocks=arguments.blocks,
            batches=arguments.batches,
            repeats=arguments.steps,
            rounds=arguments.rounds,
            annotations=arguments.annotations,
            profile=arguments.profile,
        )
        configs[parsed.name] = on_device.measure(settings, arguments.device, peers)
        on_device.report(parsed.name, configs[parsed.name])
    modules = ["flax", "optax", *(["torch", "transformers"] if peers else [])]
    record = {
        "benchmark": "train_step_device",
        "figures": {
            "unit": "examples/s",
            "lengths": "full" if arguments.annotations is None else "YouCook II",
            "configs": configs,
            "targets": on_device.TARGETS,
        },
        **alternate.circumstances(modules),
    }
    alternate.write(record, arguments.json)
    failed = [peer for found in configs.values() for peer in peers if "failed" in found[peer]]
    return 1 if failed else 0


def _add_device_arguments(group: Any) -> None:
    group.add_argument(
        "--config",
        nargs="+",
        default=["configs/videobert_base.py", "configs/videobert_large.py"],
        help="one after another; the mesh is of all devices along data",
    )
    group.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="another setting of them"
    )
    group.add_argument("--alone", action="store_true", help="ours without peers, all the memory")
    group.add_argument("--blocks", type=int, default=2, help="a step, of data.block_size examples")
    group.add_argument("--batches", type=int, default=2, help="of each layout, for an epoch's")
    group.add_argument(
        "--annotations",
        type=pathlib.Path,
        help="youcookii_annotations_trainval.json: its lengths in the place of full rows",
    )
    group.add_argument(
        "--profile", type=pathlib.Path, metavar="DIR", help="leaves a trace of ours there"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--against", choices=["lxmert"])
    what.add_argument("--device", choices=["gpu", "tpu", "cpu"])
    _add_device_arguments(parser.add_argument_group("with --device"))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--steps", type=int, default=2, help="steps a run; with --device, of each batch"
    )
    parser.add_argument("--json", help="file for the record")
    arguments = parser.parse_args()
    return failures.exit_code(lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main())
