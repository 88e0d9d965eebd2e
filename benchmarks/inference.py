"""`encode_video` and `encode_text` as applications call them, against LXMERT in PyTorch, on CPU.

    python -m benchmarks.inference [--json FILE]

Both sides have equal towers (four layers of 512 dimensions each, features of 1024) and the same 64
texts and videos, whose lengths are drawn like those of YouCook II's steps; NumPy in and out,
tokenization and padding included, float32, in alternating runs. The peer is the language and the
vision layers of Hugging Face's LxmertModel, eager and compiled, its rows padded to the longest.
`ratio` is the lesser one of video and text at 64 a call; `figures` has all, also of one a call and
of rows that are all of the longest length.

`first_call`: seconds in a fresh process with a warm compilation cache until an export of
configs/tiny.py is loaded and has encoded a text and a video; `with_imports` from its begin.
"""

import argparse
import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from benchmarks import alternate, inference_sides
from videobert_jax.cli import failures
from videobert_jax.export import safetensors
from videobert_jax.files import extras

TARGETS = {"at 64": 1.3, "at 1": 1.0, "first_call": 2.0}
_EQUAL = 0.02  # by which the parameters of the two sides may differ
_MANY, _SINGLE = 64, 16  # inputs of a call; of a run with a call each
_STARTS = 3  # fresh processes
Encode = Callable[[Any], Any]

# What a fresh process does; prints the seconds of each part.
_FIRST_CALL = """
import time
begun = time.perf_counter()
import json, sys
import numpy as np
import videobert_jax
from videobert_jax import loading
from videobert_jax.inference import model
imported = time.perf_counter()
model = videobert_jax.load(sys.argv[1])
loaded = time.perf_counter()
model.encode_text("add the chopped onion")
text = time.perf_counter()
model.encode_video(np.zeros((5, model.contract.dim), np.float32))
video = time.perf_counter()
parts = {"imports": imported - begun, "load": loaded - imported, "text": text - loaded}
print(json.dumps({**parts, "video": video - text}))
"""


def first_call(words: Any) -> dict[str, Any]:
    """Medians over fresh processes, after one that fills the compilation cache."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        safetensors.save_bundle(inference_sides.tiny(words), folder / "tiny")
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "VIDEOBERT_CACHE": name}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        command = [sys.executable, "-c", _FIRST_CALL, str(folder / "tiny")]
        runs = []
        for _ in range(1 + _STARTS):
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=True
            )
            runs.append(json.loads(done.stdout))
    cold, *warm = runs
    parts = {part: statistics.median(run[part] for run in warm) for part in cold}

    def seconds(run: dict[str, float]) -> float:
        return sum(run.values()) - run["imports"]

    return {
        "seconds": statistics.median(map(seconds, warm)),
        "with_imports": statistics.median(sum(run.values()) for run in warm),
        "without_cache": seconds(cold),
        "parts": parts,
    }


def _rate(encode: Encode, inputs: Sequence[Any], a_call: int) -> float:
    """Inputs a second, so many a call."""
    begun = time.perf_counter()
    for first in range(0, len(inputs), a_call):
        encode(inputs[first : first + a_call])
    return len(inputs) / (time.perf_counter() - begun)


def alternating(sides: dict[str, Any], rounds: int) -> dict[str, alternate.Rates]:
    """Rates of every case; the sides are "ours" and the variants of the peer."""
    mixed = inference_sides.drawn(inference_sides.SIZES, _MANY)
    full = inference_sides.drawn(inference_sides.SIZES, _MANY, full=True)
    cases = {
        "encode_video at 64": ("encode_video", mixed.videos, _MANY),
        "encode_text at 64": ("encode_text", mixed.texts, _MANY),
        "encode_video at 1": ("encode_video", mixed.videos[:_SINGLE], 1),
        "encode_text at 1": ("encode_text", mixed.texts[:_SINGLE], 1),
        "encode_video at 64, all of the longest": ("encode_video", full.videos, _MANY),
        "encode_text at 64, all of the longest": ("encode_text", full.texts, _MANY),
    }
    found = {}
    for name, (method, inputs, a_call) in cases.items():
        print(name)
        ours, *peers = (
            (side, functools.partial(_rate, getattr(of, method), inputs, a_call))
            for side, of in sides.items()
        )
        found[name] = alternate.run(ours[1], dict(peers), rounds=rounds)
    return found


def made(words: Any, threads: int) -> dict[str, Any]:
    """Our side and the variants of the peer. Raises BenchmarkError where they are not equal."""
    from benchmarks import torch_two_tower  # brings PyTorch

    sizes = inference_sides.SIZES
    sides: dict[str, Any] = {"ours": inference_sides.ours(sizes, words)}
    for variant in ("eager", *(["compiled"] if torch_two_tower.compiler() else [])):
        peer = inference_sides.Peer(sizes, words, threads, compiled=variant == "compiled")
        ours = inference_sides.num_parameters(sides["ours"])
        if abs(ours / peer.num_parameters - 1) > _EQUAL:
            raise alternate.BenchmarkError(
                f"the towers are not equal: {ours:,} parameters, the peer's {peer.num_parameters:,}"
            )
        sides[variant] = peer
    return sides


def measure(rounds: int) -> dict[str, Any]:
    """The benchmark's record."""
    # Threads of PyTorch that spin while they wait would take ours their cores in its turn.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    extras.require("transformers", "parity")
    jax.config.update("jax_platforms", "cpu")
    words = inference_sides.tokenizer()
    started = first_call(words)
    print(f"first call: {started}", flush=True)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    sides = made(words, cores or 1)
    rates = alternating(sides, rounds)
    at_64 = [name for name in rates if name.endswith("at 64")]
    least = min(at_64, key=lambda name: rates[name].ratio)
    mixed = inference_sides.drawn(inference_sides.SIZES, _MANY)
    pieces, clips = [len(text.split()) + 2 for text in mixed.texts], list(map(len, mixed.videos))
    figures = {
        "of": least,
        "cases": {
            name: {
                "ratio": of.ratio,
                "ours": of.ours_median,
                "peers": {variant: statistics.median(runs) for variant, runs in of.peers.items()},
            }
            for name, of in rates.items()
        },
        "ratio_at_1": min(rates[f"encode_{side} at 1"].ratio for side in ("video", "text")),
        "first_call": started,
        "lengths": {
            "pieces": {"mean": statistics.mean(pieces), "longest": max(pieces)},
            "clips": {"mean": statistics.mean(clips), "longest": max(clips)},
        },
        "parameters": {
            "ours": inference_sides.num_parameters(sides["ours"]),
            "peer": sides["eager"].num_parameters,
        },
        "compiled_peer": "compiled" in sides or "not measured: no C++ compiler is here",
        "targets": TARGETS,
    }
    return alternate.record("inference", rates[least], "inputs/s", _MODULES, figures)


_MODULES = ["flax", "torch", "transformers"]


def run(arguments: argparse.Namespace) -> int:
    alternate.write(measure(arguments.rounds), arguments.json)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", help="file to write the record to")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args(arguments)
    return failures.exit_code(lambda: run(given))


if __name__ == "__main__":
    sys.exit(main())
