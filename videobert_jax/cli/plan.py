"""`videobert plan --config=FILE --topology=v5p:4x4x4 [--config.KEY=VALUE ...]`: the training step
compiled for TPUs that are not here, of every stage where the run has several. It says whether the
step fits, bytes and FLOPs a device, and the collectives. A big model takes minutes.
"""

import argparse
import dataclasses
import json
import sys

HELP = "compile the training step for TPUs that are not here, and say what it needs"
TAKES_SETTINGS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, help="a file of configs/")
    parser.add_argument(
        "--topology",
        required=True,
        help="KIND:CHIPS, such as v4:2x2x1, v5e:4x4, v5p:4x4x4, v6e:4x4",
    )
    parser.add_argument(
        "--feature_dim",
        type=int,
        default=1024,
        help="of the clip features, where the config leaves it to the dataset; default 1024 (I3D)",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object a stage instead")


def run(arguments: argparse.Namespace) -> int:
    """0 where the step of every stage fits, 1 where one does not.

    Raises ConfigError, PlanError, MissingExtra.
    """
    from videobert_jax import configuration
    from videobert_jax.training import plan

    config = configuration.load_file(arguments.config)
    for key, text in arguments.settings:
        configuration.apply_override(config, key, text)
    parsed = configuration.parse(config)
    fits = True
    for stage in parsed.in_stages():
        what = f"{parsed.name} {stage}".strip()
        print(f"compiling {what} for {arguments.topology} ...", file=sys.stderr, flush=True)
        made = plan.compile_for(parsed, arguments.topology, arguments.feature_dim, stage)
        print(json.dumps(dataclasses.asdict(made)) if arguments.json else describe(made))
        fits = fits and made.fits
    return 0 if fits else 1


def describe(made) -> str:
    """A Plan in lines for people."""
    mesh = ", ".join(f"{axis} {size}" for axis, size in made.mesh.items())
    what = f"{made.config} {made.stage}".strip()
    lines = [
        f"{what} on {made.topology}: {made.num_devices} x {made.device_kind}; mesh {mesh}",
        f"  parameters          {made.parameters / 1e6:,.1f} M",
        f"  global batch        {made.global_batch_size:,} examples",
        f"  fits                {'yes' if made.fits else 'NO'}",
    ]
    if made.fits:
        lines += [
            f"  arguments           {_gib(made.argument_bytes)} a device (state and batch)",
            f"  peak memory         {_gib(made.peak_bytes)} a device",
        ]
    else:
        lines.append(
            f"  memory              needs {_gib(made.peak_bytes)} a device, has "
            f"{_gib(made.available_bytes)}: raise mesh.fsdp or training.accumulation_steps, or "
            f"set model.remat=full\n  the compiler says   {made.reason}"
        )
    lines.append(f"  matrix products     {made.flops / 1e12:,.3f} TFLOP a device and step")
    if made.collectives is not None:
        counted = ", ".join(f"{number} {kind}" for kind, number in made.collectives.items())
        lines.append(f"  collectives         {counted or 'none'} (those of a scanned layer once)")
    lines.append(f"  compiled in         {made.compile_seconds:.0f} s")
    return "\n".join(lines)


def _gib(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 2**30:,.2f} GiB"
