"""Alternating runs of ours and a peer's, their medians, and the record of what they ran on.

Runs alternate because machines drift: what disturbs one of two neighbours disturbs the other.
"""

import argparse
import dataclasses
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from videobert_jax.files import atomic

_ROOT = pathlib.Path(__file__).resolve().parent.parent
Measure = Callable[[], float]  # one run; gives a rate, more is better


class BenchmarkError(ValueError):
    """A comparison that would not be one, or that cannot be made here."""


@dataclasses.dataclass(frozen=True)
class Rates:
    """Rates of the runs of ours, of each variant of the peer, and of what else was measured
    beside them, run by run."""

    ours: list[float]
    peers: dict[str, list[float]]
    references: dict[str, list[float]]

    @property
    def ours_median(self) -> float:
        return statistics.median(self.ours)

    @property
    def best_peer(self) -> str:
        """The peer's variant with the highest median."""
        return max(self.peers, key=lambda name: statistics.median(self.peers[name]))

    @property
    def peer_median(self) -> float:
        return statistics.median(self.peers[self.best_peer])

    @property
    def ratio(self) -> float:
        """Median of ours by median of the peer's best variant."""
        return self.ours_median / self.peer_median


def run(
    ours: Measure,
    peers: Mapping[str, Measure],
    *,
    rounds: int,
    references: Mapping[str, Measure] | None = None,
) -> Rates:
    """Rates of `rounds` rounds of ours, every variant of the peer and every reference in turn;
    each runs once before, unmeasured."""
    measures = {"ours": ours, **peers, **(references or {})}
    if len(measures) != 1 + len(peers) + len(references or {}):
        raise ValueError(f"two measures have one name: {list(peers)}, {list(references or {})}")
    measured: dict[str, list[float]] = {name: [] for name in measures}
    for measure in measures.values():
        measure()
    for number in range(rounds):
        for name, measure in measures.items():
            measured[name].append(measure())
        latest = ", ".join(f"{name} {rates[-1]:,.1f}" for name, rates in measured.items())
        print(f"round {number + 1}/{rounds}: {latest}", flush=True)
    return Rates(
        ours=measured["ours"],
        peers={name: measured[name] for name in peers},
        references={name: measured[name] for name in references or {}},
    )


def record(
    name: str,
    rates: Rates,
    unit: str,
    modules: Sequence[str],
    figures: Mapping[str, Any],
) -> dict[str, Any]:
    """JSON object {"benchmark", "ratio", "figures", "hardware", "versions", "commit"}."""
    return {
        "benchmark": name,
        "ratio": rates.ratio,
        "figures": {
            "unit": unit,
            "ours": rates.ours_median,
            "peer": rates.peer_median,
            "peer_variant": rates.best_peer,
            "ours_runs": rates.ours,
            "peer_runs": rates.peers,
            **figures,
        },
        **circumstances(modules),
    }


def circumstances(modules: Sequence[str]) -> dict[str, Any]:
    """{"hardware", "versions", "commit"} of a record; modules: those that were measured."""
    return {"hardware": hardware(), "versions": versions(modules), "commit": commit()}


def write(result: Mapping[str, Any], path: str | None) -> None:
    """Prints the record, and writes it to `path` where one is given."""
    print(json.dumps(result, indent=2))
    if path is not None:
        atomic.write_json(pathlib.Path(path), dict(result))


def hardware() -> dict[str, Any]:
    """Processor, cores that may be used, and jax's devices."""
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "processor": _processor(),
        "cores": len(affinity(0)) if affinity is not None else os.cpu_count(),
        "load_at_start": _LOAD,
        "devices": [f"{device.device_kind} ({device.platform})" for device in jax.devices()],
    }


_LOAD = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _processor() -> str:
    information = pathlib.Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def versions(modules: Sequence[str]) -> dict[str, str]:
    """Versions of Python, numpy, jax and the modules that were measured, by their distribution."""
    distributions = importlib.metadata.packages_distributions()
    names = [distributions[module][0] for module in ("numpy", "jax", "jaxlib", *modules)]
    found = {name: importlib.metadata.version(name) for name in names}
    return {"python": platform.python_version(), **found}


def commit() -> str:
    """Commit of the checkout, "-modified" behind it where files differ that are no documents, or
    "unknown". Results that are appended to documents modify nothing that is measured."""
    answers = of_git(
        ("rev-parse", "HEAD"),
        ("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs"),
    )
    if answers is None:
        return "unknown"
    found, changed = answers
    return found.decode().strip() + ("-modified" if changed else "")


def of_git(*asked: Sequence[str]) -> list[bytes] | None:
    """What git answers to each of these at the root of the checkout, None where that is none."""
    try:
        return [
            subprocess.run(["git", *each], cwd=_ROOT, capture_output=True, check=True).stdout
            for each in asked
        ]
    except (OSError, subprocess.CalledProcessError):
        return None


def add_shard(parser: argparse.ArgumentParser, of: str) -> None:
    """Adds --shard, a slice of the things named `of`: all of them where it is not given."""
    parser.add_argument(
        "--shard", type=_shard, default="0/1", help=f"I/N: part I, from 0, of N of the {of}"
    )


def _shard(text: str) -> slice:
    """Every n-th thing, from thing i on."""
    part, _, count = text.partition("/")
    if not (part.isdigit() and count.isdigit() and int(part) < int(count)):
        raise argparse.ArgumentTypeError(f"{text!r}: expected I/N with I from 0 to N - 1")
    return slice(int(part), None, int(count))
