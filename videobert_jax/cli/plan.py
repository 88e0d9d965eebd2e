"""`videobert plan --config=FILE --topology=v5p:4x4x4 [--slices=2] [--config.KEY=VALUE ...]`: the
training step as the compiler schedules it for TPUs that are not here, of every stage where the run
has several. It says whether the step fits, what memory holds, FLOPs, bytes and collectives a
device, what bounds the step by the data sheets, and what the input must then read. A big model
takes a minute or two.

`--device-memory=24GiB` in place of a topology: whether it fits one device, such as a GPU.
`--search`: other meshes, micro-batches and rematerialisation, estimated; the best three compiled.
"""

import argparse
import dataclasses
import json
import re
import sys
from typing import Any

HELP = "compile the training step for TPUs that are not here, and say what it needs"
TAKES_SETTINGS = True
_UNITS = {"G": 10**9, "GB": 10**9, "GiB": 2**30, "M": 10**6, "MB": 10**6, "MiB": 2**20}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, help="a file of configs/")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--topology", help="a TPU slice, KIND:CHIPS, such as v4:2x2x1, v5e:4x4, v5p:4x4x4, v6e:4x4"
    )
    where.add_argument(
        "--device-memory",
        type=_size,
        metavar="SIZE",
        help="of one device of another kind, such as 24GiB: does the step fit it?",
    )
    parser.add_argument(
        "--slices", type=int, default=1, help="so many slices of the topology; default 1"
    )
    parser.add_argument(
        "--search",
        action="store_true",
        help="look for a faster mesh, micro-batch and rematerialisation",
    )
    parser.add_argument(
        "--feature_dim",
        type=int,
        default=1024,
        help="of the clip features, where the config leaves it to the dataset; default 1024 (I3D)",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object a plan instead")


def run(arguments: argparse.Namespace) -> int:
    """0 where the step of every stage fits, 1 where one does not.

    Raises ConfigError, PlanError, TopologyError, MissingExtra.
    """
    from videobert_jax import configuration
    from videobert_jax.training import hardware, plan, topologies

    hardware.keep_to_host()
    config = configuration.load_file(arguments.config)
    for key, text in arguments.settings:
        configuration.apply_override(config, key, text)
    parsed = configuration.parse(config)
    if arguments.device_memory is not None:
        if arguments.slices != 1:
            raise topologies.TopologyError(
                f"--slices={arguments.slices} is of a --topology; --device-memory is of one device."
            )
        target = topologies.Target.device(arguments.device_memory)
    else:
        target = topologies.Target(arguments.topology, arguments.slices)
    fits = True
    for stage, staged in parsed.in_stages().items():
        if arguments.search:
            fits = _search(staged, stage, target, arguments) and fits
            continue
        _say(f"compiling {parsed.name} {stage}".strip() + f" for {target.name} ...")
        made = plan.compile_for(staged, target, arguments.feature_dim, stage)
        changes = [] if made.fits else _changes(staged, target, arguments.feature_dim, made)
        if arguments.json:
            print(json.dumps({**as_json(made), "would_fit": changes}))
        else:
            print("\n".join([describe(made), *_would_fit(changes, made)]))
        fits = fits and made.fits
    return 0 if fits else 1


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _changes(run: Any, target: Any, feature_dim: int, made: Any) -> list[dict[str, Any]]:
    """Settings with which the step would fit, cheapest first, and about what it would need."""
    from videobert_jax.training import plan, search

    _say("estimating which changes would make it fit ...")
    if target.device_bytes is not None:
        run = plan.on_one_device(run)
    return [
        {"settings": found.settings, "flags": found.flags, "needed_bytes": needed}
        for found, needed in search.fitting(run, feature_dim, target, made.needed_bytes)
    ]


def _would_fit(changes: list[dict[str, Any]], made: Any) -> list[str]:
    if made.fits:
        return []
    if not changes:
        return [
            "  would fit           no mesh, micro-batch, rematerialisation or smaller block does: "
            "take more devices, devices of more memory, or a smaller model"
        ]
    return [
        f"  {'would fit' if not number else '':<20}{change['flags']}  (about "
        f"{_gib(change['needed_bytes'])})"
        for number, change in enumerate(changes)
    ]


def _search(run: Any, stage: str, target: Any, arguments: argparse.Namespace) -> bool:
    """Prints the arrangements of a run that were compiled, the fastest first; True where one
    fits."""
    from videobert_jax.training import plan, search

    if target.device_bytes is not None:
        run = plan.on_one_device(run)
    _say(f"estimating arrangements of {run.name} {stage}".rstrip() + f" on {target.name} ...")
    found = search.candidates(run, arguments.feature_dim, target)
    best = search.best(found, target)
    made = []
    for candidate in best:
        _say(f"compiling {candidate.flags or 'the config as it is'} ...")
        made.append(plan.compile_for(candidate.run, target, arguments.feature_dim, stage))
    order = sorted(range(len(best)), key=lambda n: (not made[n].fits, -(made[n].speed)))
    if arguments.json:
        for n in order:
            print(json.dumps({**as_json(made[n]), "flags": best[n].flags}))
    else:
        print(
            f"{run.name} on {target.name}: {len(found)} arrangements estimated, "
            f"{len(best)} compiled"
        )
        print(f"  {'fits':<5}{'GiB':>8}{'TFLOP':>9}{'examples/s':>12}  bound by     settings")
        for n in order:
            print(_row(made[n], best[n].flags))
    return any(each.fits for each in made)


def _row(made: Any, flags: str) -> str:
    speed = f"{made.examples_a_second:,.0f}" if made.roofline else "-"
    bound = made.roofline.bound if made.roofline else "-"
    needed = "?" if made.needed_bytes is None else f"{made.needed_bytes / 2**30:.2f}"
    return (
        f"  {'yes' if made.fits else 'NO':<5}{needed:>8}{made.flops / 1e12:>9.2f}{speed:>12}  "
        f"{bound:<12} {flags or '(as it is)'}"
    )


def as_json(made: Any) -> dict[str, Any]:
    """A Plan as a JSON object, with the collectives also summed by kind and axes."""
    from videobert_jax.training import collectives

    fields = dataclasses.asdict(made)
    fields["collective_totals"] = made.collectives and [
        total._asdict() for total in collectives.totals(made.collectives)
    ]
    if made.roofline is not None:
        fields["bound"] = made.roofline.bound
        fields["examples_a_second"] = made.examples_a_second
    return fields


def describe(made: Any) -> str:
    """A Plan in lines for people."""
    mesh = ", ".join(f"{axis} {size}" for axis, size in made.mesh.items())
    what = f"{made.config} {made.stage}".strip()
    where = (
        f"{made.num_devices} x {made.device_kind}; mesh {mesh}" if made.device_kind else "no mesh"
    )
    lines = [
        f"{what} compiled for {made.target}: {where}",
        f"  parameters          {made.parameters / 1e6:,.1f} M",
        f"  global batch        {made.global_batch_size:,} examples, {made.tokens:,} tokens "
        "a device",
        f"  fits                {_fits(made)}",
        f"  memory a device     {_memory(made.memory)}",
        f"  products            {made.flops / 1e12:,.3f} TFLOP a device and step",
    ]
    if made.reason:
        lines.insert(4, f"  the compiler says   {made.reason}")
    if made.bytes_accessed is not None:
        lines.append(f"  memory traffic      {made.bytes_accessed / 1e9:,.2f} GB a device and step")
    if made.roofline is not None:
        lines += [*_collectives(made), *_bound(made)]
    lines.append(f"  compiled in         {made.compile_seconds:.0f} s by {made.compiler}")
    return "\n".join(lines)


def _fits(made: Any) -> str:
    if made.needed_bytes is None:
        return f"NO: more than {_gib(made.available_bytes)} a device"
    rest = made.available_bytes - made.needed_bytes
    needed = f"needs {_gib(made.needed_bytes)} of {_gib(made.available_bytes)} a device"
    return f"yes, {needed}" if made.fits else f"NO: {needed}, {_gib(-rest)} too much"


def _memory(memory: dict[str, int]) -> str:
    return ", ".join(f"{kind} {_gib(size)}" for kind, size in memory.items() if size >= 2**20)


def _collectives(made: Any) -> list[str]:
    """Lines of what is sent, by kind and axes."""
    from videobert_jax.training import collectives

    lines = [
        f"{total.bytes_a_step / 1e6:,.1f} MB in {total.count:,} {total.kind} {total.where}"
        for total in collectives.totals(made.collectives)
    ] or ["none"]
    return [f"  {'collectives' if not n else '':<20}{line}" for n, line in enumerate(lines)]


def _bound(made: Any) -> list[str]:
    rate, times = made.input, dict(made.roofline.named())
    told = ", ".join(f"{name} {time * 1e3:,.1f} ms" for name, time in times.items() if time)
    if made.roofline.between_slices is None:
        told += "; how fast slices are joined no data sheet says"
    return [
        f"  bound by            {made.roofline.bound}: {told} a step by the data sheets",
        f"  at that bound       {made.examples_a_second:,.0f} examples a second",
        f"  then input reads    {rate.examples:,.0f} examples, {rate.reads:,.0f} records, "
        f"{rate.bytes / 1e6:,.0f} MB a second in each of {rate.processes} processes",
    ]


def _gib(size: int | float | None) -> str:
    return "unknown" if size is None else f"{size / 2**30:,.2f} GiB"


def _size(text: str) -> int:
    found = re.fullmatch(r"([\d.]+) ?(\w+)", text)
    if found is None or found[2] not in _UNITS:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 24GiB or 80GB")
    return int(float(found[1]) * _UNITS[found[2]])
