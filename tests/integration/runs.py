"""Tiny runs of the real loop and of the real train.py, and what they left behind."""

import fnmatch
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import types
from collections.abc import Mapping, Sequence
from typing import Any

from videobert_jax import configuration
from videobert_jax.files import storage
from videobert_jax.training import checkpoint_folder, loop, manifest
from videobert_jax.training.loop import TrainResult

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
NUM_STEPS = 8
# One layer a tower and two objectives: these tests are about the loop, and their time is compile
# time. The drill of kills has all.
SETTINGS: dict[str, Any] = {
    "platform": "cpu",
    "model.text.num_layers": 1,
    "model.video.num_layers": 1,
    "model.decoder.num_layers": 0,
    "data.target_length": 0,
    "objectives.masked_video.weight": 0.0,
    "objectives.matching.weight": 0.0,
    "objectives.bag_of_words.weight": 0.0,
    "objectives.captioning.weight": 0.0,
    "data.block_size": 4,
    "data.blocks_per_batch": 8,
    "data.executor": "threads",
    "optimizer.warmup_steps": 2,
    "optimizer.ema_decay": 0.5,
    "training.num_steps": NUM_STEPS,
    "training.save_every": 3,
    "training.log_every": 1,
}
TIMED = ("*_per_second", "seconds_*", "data_wait_fraction", "mfu", "matmul_fraction")


def flags(dataset: str | pathlib.Path, **settings: Any) -> list[str]:
    """Flags of train.py for a tiny run; double underscores in names stand for dots."""
    changed = {name.replace("__", "."): value for name, value in settings.items()}
    merged = {**SETTINGS, "data.path": dataset, **changed}
    return [
        f"--config={ROOT / 'configs' / 'tiny.py'}",
        *(f"--config.{name}={value}" for name, value in merged.items()),
    ]


def train(workdir: storage.Path, dataset: str | pathlib.Path, **settings: Any) -> TrainResult:
    """A run in this process; `stop` and `evaluators` go to the loop."""
    stop = settings.pop("stop", None)
    evaluators = settings.pop("evaluators", ())
    path, *rest = flags(dataset, **settings)
    config = configuration.load_file(path.removeprefix("--config="))
    for flag in rest:
        name, _, text = flag.removeprefix("--config.").partition("=")
        configuration.apply_override(config, name, text)
    return loop.train(
        configuration.parse(config),
        configuration.to_json(config),
        workdir,
        evaluators=evaluators,
        stop=stop,
    )


def start(
    workdir: storage.Path,
    arguments: list[str],
    *,
    devices: int,
    log: pathlib.Path,
    faults: Sequence[str] = (),
    variables: Mapping[str, str] = types.MappingProxyType({}),
) -> subprocess.Popen:
    """train.py in a process of its own; what it prints goes to the end of `log`. faults: of
    `tests.drills.train_with`. variables: of its environment, beside ours."""
    own = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
    environment = {**os.environ, **own, **variables}
    faulty = ["-m", "tests.drills.train_with", *faults, "--"]
    program = faulty if faults else [str(ROOT / "train.py")]
    command = [sys.executable, *program, f"--workdir={workdir}", *arguments]
    with open(log, "ab") as output:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )


def flags_of_processes(count: int) -> list[list[str]]:
    """What each of several processes of one run is told, which meet at a free port here."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = [f"--coordinator=127.0.0.1:{port}", f"--num_processes={count}"]
    return [[*together, f"--process_id={number}"] for number in range(count)]


def wait_for_step(workdir: storage.Path, step: int, process: subprocess.Popen) -> None:
    """Returns once metrics.jsonl has this step, or the process has ended."""
    while process.poll() is None and last_reported_step(workdir) < step:
        time.sleep(0.02)


def last_reported_step(workdir: storage.Path) -> int:
    reported = [line["step"] for line in figures(workdir)]
    return max(reported, default=-1)


def figures(workdir: storage.Path) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl without what depends on the clock; a line half written is left out."""
    path = workdir / "metrics.jsonl"
    if not path.exists():
        return []
    text = path.read_text()
    lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    return [
        {
            name: value
            for name, value in line.items()
            if not any(fnmatch.fnmatchcase(name, timed) for timed in TIMED)
        }
        for line in lines
    ]


def saved_digests(workdir: storage.Path, step: int) -> dict[str, Any]:
    """Digest of every piece of every leaf of a step, by its manifest."""
    saved = manifest.read(checkpoint_folder.manifest_path(workdir, step))
    return {
        name: sorted((p.start, p.sha256) for p in leaf.pieces)
        for name, leaf in saved.leaves.items()
    }


def terminate(process: subprocess.Popen) -> None:
    """SIGTERM, as a cluster's scheduler sends it."""
    process.send_signal(signal.SIGTERM)
