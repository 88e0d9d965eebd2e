"""`videobert replay --workdir=DIR --step=N`: a step of a run once more, bit for bit.

It begins from the newest checkpoint before the step, on the devices and mesh of the run, and prints
what the step's batch is made of and what came of it, beside what the run logged. Nothing in the
workdir is changed. With --data_position it is the step that read this example of a source.
"""

import argparse
import dataclasses
import json
import sys
from typing import Any

from videobert_jax.files import storage

HELP = "take a step of a run again: its batch, its figures, the same bits"
_SHOWN = 5  # examples a block


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", required=True, help="of a run of train.py")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--step", type=int, help="as metrics.jsonl numbers it: steps taken with it")
    which.add_argument("--data_position", type=int, help="of an example, as rollbacks.json has it")
    parser.add_argument("--source", help="of data.sources, of the data position; the first")
    parser.add_argument("--json", action="store_true", help="all of it as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """0 where every figure is the one logged or none was, 1 where some differ."""
    from videobert_jax.training import hardware, replay, run_record

    workdir = storage.path(arguments.workdir)
    storage.require_readable(workdir)
    config = run_record.run_config(workdir)
    kept = workdir if config.deterministic else None
    devices = hardware.start(config.platform, deterministic_in=kept)
    print(devices, file=sys.stderr, flush=True)
    found = replay.replay(
        workdir,
        step=arguments.step,
        position=arguments.data_position,
        source=arguments.source,
    )
    if arguments.json:
        print(json.dumps({**dataclasses.asdict(found), "differing": found.differing}))
    else:
        print("\n".join(_lines(found)))
    return 1 if found.differing else 0


def _lines(found: Any) -> list[str]:
    lines = [f"step {found.step}, taken again from the state of step {found.began_at}"]
    for number, block in enumerate(found.examples):
        count = len(block["ids"])
        lines.append(f"block {number}: {count} examples of {block['split']} ({block['regime']})")
        shown = zip(block["ids"], block["videos"], block["texts"], strict=True)
        lines += [f"  {i}  {video}  {text!r}" for i, video, text in list(shown)[:_SHOWN]]
        lines += [f"  ... and {count - _SHOWN} more"] if count > _SHOWN else []
    for name, value in found.figures.items():
        logged = "" if found.logged is None else f"   logged {found.logged.get(name)!r}"
        lines.append(f"{name:20} {value!r}{logged}")
    if found.logged is None:
        lines.append("the run logged no figures of this step (training.log_every)")
    elif found.differing:
        lines.append(f"not as logged: {', '.join(found.differing)}")
    else:
        lines.append("every figure is the one that was logged, bit for bit")
    return lines
