"""Where the time and the memory of a compiled step go."""

import collections
import pathlib
import re
from typing import Any

import jax

# Kinds of operations by their names in a program or by those of their kernels, the first that fits.
_KINDS = (
    ("collectives", r"all-reduce|all-gather|reduce-scatter|all-to-all|collective|nccl"),
    ("matrix products", r"dot|gemm|cublas|cutlass|matmul|convolution|nvjet|xmma"),
    ("attention kernels", r"fmha|flash|attention"),
    ("reductions", r"reduce|softmax"),
    ("copies", r"copy|transpose|memcpy|bitcast"),
    ("random bits", r"rng|threefry"),
    ("element by element", r"fusion|loop|wrapped|add|multiply|select|broadcast|convert"),
)
_AROUND = re.compile(r"while|call|conditional")


def memory(compiled: jax.stages.Compiled, device: jax.Device) -> dict[str, int | None]:
    """Bytes that a program needs, arguments counted, and most that the device has held."""
    analysis: Any = compiled.memory_analysis()
    held = device.memory_stats() or {}
    return {
        "program_peak_bytes": getattr(analysis, "peak_memory_in_bytes", None),
        "device_peak_bytes": held.get("peak_bytes_in_use"),
    }


def shares(folder: pathlib.Path) -> dict[str, float]:
    """Share of the time of all operations in the newest trace below `folder`, by kind; loops and
    calls, which are the time of what is in them, are left out."""
    files = sorted(folder.rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime)
    seconds: collections.Counter[str] = collections.Counter()
    for plane in jax.profiler.ProfileData.from_file(str(files[-1])).planes:
        for line in plane.lines:
            for event in line.events:
                if "hlo_op" in dict(event.stats) and not _AROUND.match(event.name):
                    seconds[kind_of(event.name)] += event.duration_ns / 1e9
    total = seconds.total()
    return {name: value / total for name, value in seconds.most_common()}


def kind_of(name: str) -> str:
    """Kind of the operation or kernel of this name."""
    return next((kind for kind, form in _KINDS if re.search(form, name.lower())), "other")
