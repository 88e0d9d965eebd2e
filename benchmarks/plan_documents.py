"""docs/plans.md and docs/memory.md, of finished plans."""

import pathlib
from typing import Any

from videobert_jax.training import hardware, topologies

_SIZES = (11, 16, 24, 40, 80)  # GiB of devices that people have
_GPU, _MFU = "NVIDIA H100", 0.4

_PLANS = """# Plans

Each row is the real training step of a config, as libtpu schedules it and lays it into memory for
TPU slices that were not at hand: **compiled for**, not run on. `python -m benchmarks.plans slices`
compiles what is missing and writes this file; rows that are not here have not been compiled yet. A
chip has one block (`data.block_size` examples), the batch is in proportion to the chips, and the
mesh is the config's.

* *memory*: what the program needs of what the compiler lets it have, a chip; for its code, which is
  not made, 0.25 GiB are counted.
* *TFLOP*: of matrix products a chip and step, loops times their length, recomputation counted.
* *traffic*: bytes a chip and step moved between it and its large memory, likewise.
* *sent*: bytes a chip and step by the ring algorithms, in its slice and, behind the plus, between
  slices.
* *bound*: the longest of arithmetic, memory and network (milliseconds a step, by the data sheets
  that `videobert_jax/training/topologies.py` names), and the examples a second of all chips if a
  step took just that long. A real step takes longer; none has been timed yet.
* *input*: what each process, one a host, must then read.
* *compiled in*: until the program was scheduled; code takes ten times as long.

{table}
{scaling}
## Collectives

Megabytes a chip and step of the arrays that are gathered or reduced, and how often.

{collectives}
"""

_MEMORY = """# What fits which device

Bytes that a training step takes on one device, compiled by `python -m benchmarks.plans memory` for
a micro-batch of one block, of {sizes} examples; rows that are not here have not been compiled yet.
Of other settings it is told by
`videobert plan --config=configs/videobert_base.py --device-memory=24GiB`.

**How exact this is.** State and batch are exact on any device. What lives between is as the TPU
compiler places it for a chip of 95 GiB, attention in its dense form: a GPU's own compiler was not
asked, pads less (a TPU's arrays are padded to tiles of 8 x 128) and joins other operations. Leave a
tenth of a device free. With `training.accumulation_steps` equal to `data.blocks_per_batch` a step
of any batch takes what one block takes, and a copy of the gradients.

{table}
## Hours a recipe

FLOPs of matrix products of all steps of a config, recomputed ones too, by
`python -m benchmarks.plans hours`; and how long they take one {gpu} at {mfu:.0%} of its data
sheet's rate, which is an assumption, not a measurement.

{hours}
"""


def chips_of(topology: str) -> int:
    topologies.chip(topology)
    return topologies.Target(topology).num_devices


def write(folder: pathlib.Path, records: list[dict[str, Any]]) -> None:
    """Writes both documents to a folder."""
    plans = [each["plan"] for each in records if each["document"] == "slices"]
    devices = [each["plan"] for each in records if each["document"] == "memory"]
    hours = [each["plan"] for each in records if each["document"] == "hours"]
    (folder / "plans.md").write_text(
        _PLANS.format(
            table=_table(
                "config | compiled for | mesh | tokens a chip | memory, GiB | TFLOP | traffic, GB "
                "| sent, MB | bound, ms | examples/s | input, MB/s | compiled in, s",
                [_plan_row(made) for made in plans],
            ),
            scaling=_scaling(plans),
            collectives=_table(
                "config | compiled for | collective | times | MB",
                [row for made in plans for row in _collective_rows(made)],
            ),
        )
    )
    sizes = sorted({made["global_batch_size"] for made in devices})
    (folder / "memory.md").write_text(
        _MEMORY.format(
            sizes=" or ".join(map(str, sizes)) or "so many",
            gpu=_GPU,
            mfu=_MFU,
            table=_table(
                "config | examples | tokens | remat | GiB | "
                + " | ".join(f"{size} GiB" for size in _SIZES),
                [_memory_row(made) for made in devices],
            ),
            hours=_table(
                "config | remat | steps | examples a step | EFLOP | hours",
                [_hours_row(made) for made in hours],
            ),
        )
    )


def _table(header: str, rows: list[list[str]]) -> str:
    if not rows:
        return "Nothing has been compiled yet.\n"
    columns = header.split(" | ")
    lines = [f"| {header} |", "|" + "---|" * len(columns)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def _plan_row(made: dict[str, Any]) -> list[str]:
    mesh = " x ".join(str(size) for size in made["mesh"].values())
    needed, has = made["needed_bytes"], made["available_bytes"]
    memory = "more" if needed is None else f"{needed / 2**30:.2f}"
    row = [made["config"], made["target"], mesh, f"{made['tokens']:,}"]
    row.append(f"{memory} of {has / 2**30:.2f}" + ("" if made["fits"] else _what_would(made)))
    row.append(f"{made['flops'] / 1e12:.2f}")
    if made["roofline"] is None:
        return [*row, *["-"] * 5, f"{made['compile_seconds']:.0f}"]
    inside, between = (
        sum(
            each["sent_a_step"]
            for each in made["collective_totals"]
            if (each["where"] == "between slices") is across
        )
        for across in (False, True)
    )
    times = made["roofline"]
    told = [f"{name} {times[name] * 1e3:.0f}" for name in ("arithmetic", "memory", "network")]
    if times["between_slices"]:
        told.append(f"between slices {times['between_slices'] * 1e3:.0f}")
    return [
        *row,
        f"{made['bytes_accessed'] / 1e9:.1f}",
        f"{inside / 1e6:,.0f}" + (f" + {between / 1e6:,.0f}" if between else ""),
        f"**{made['bound']}**: {', '.join(told)}",
        f"{made['examples_a_second']:,.0f}",
        f"{made['input']['bytes'] / 1e6:,.0f}",
        f"{made['compile_seconds']:.0f}",
    ]


def _what_would(made: dict[str, Any]) -> str:
    changes = made["would_fit"]
    return ": does **not** fit" + (f", does with `{changes[0]['flags']}`" if changes else "")


def _scaling(plans: list[dict[str, Any]]) -> str:
    """A table of what a chip does where a config is compiled for several numbers of one kind."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for made in plans:
        if made["fits"]:
            kind = made["target"].split(" x ")[-1].partition(":")[0]
            groups.setdefault((made["config"], kind), []).append(made)
    rows = []
    for (config, kind), found in sorted(groups.items()):
        found.sort(key=lambda made: made["num_devices"])
        if len(found) < 2:
            continue
        first = found[0]
        for made in found:
            rows.append(
                [
                    config,
                    kind,
                    str(made["num_devices"]),
                    made["target"],
                    f"{made['flops'] / first['flops']:.3f}",
                    f"{made['bytes_accessed'] / first['bytes_accessed']:.3f}",
                    f"{sum(each['bytes_a_step'] for each in made['collective_totals']) / 1e6:,.0f}",
                ]
            )
    if not rows:
        return ""
    header = "config | chip | chips | compiled for | FLOPs | traffic | collectives, MB"
    return (
        "\n## Scaling\n\nFLOPs and memory traffic a chip, the batch in proportion to the chips, of "
        f"those on the fewest.\n\n{_table(header, rows)}\n"
    )


def _collective_rows(made: dict[str, Any]) -> list[list[str]]:
    return [
        [
            made["config"],
            made["target"],
            f"{each['kind']} {each['where']}",
            f"{each['count']:,}",
            f"{each['bytes_a_step'] / 1e6:,.1f}",
        ]
        for each in made["collective_totals"] or ()
        if each["bytes_a_step"] >= 1e5
    ]


def _memory_row(made: dict[str, Any]) -> list[str]:
    needed = made["needed_bytes"]
    if needed is None:
        told, fits = "more", ["no"] * len(_SIZES)
    else:
        told = f"{needed / 2**30:.2f}"
        fits = ["yes" if needed <= size * 2**30 else "no" for size in _SIZES]
    return [
        made["config"],
        f"{made['global_batch_size']:,}",
        f"{made['tokens']:,}",
        made["remat"],
        told,
        *fits,
    ]


def _hours_row(made: dict[str, Any]) -> list[str]:
    """What all steps of a config cost."""
    flops = made["flops"] * made["num_steps"]
    return [
        made["config"],
        made["remat"],
        f"{made['num_steps']:,}",
        f"{made['global_batch_size']:,}",
        f"{flops / 1e18:,.1f}",
        f"{flops / (hardware.PEAK_FLOPS[_GPU] * _MFU) / 3600:,.1f}",
    ]
