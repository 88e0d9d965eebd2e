"""Runs of train.py by one or several processes on this machine, for drills that signal them."""

import argparse
import dataclasses
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import numpy as np

from benchmarks import alternate
from tests import fakes
from tests.drills import two_stages
from tests.integration import runs
from videobert_jax.data import segments
from videobert_jax.data.writer import DatasetWriter
from videobert_jax.training import checkpoint_folder

CONFIG = pathlib.Path(two_stages.__file__)
NUM_STEPS = two_stages.NUM_STEPS
_LONGEST_SECONDS = 900.0  # of a start that nothing happens to


@dataclasses.dataclass
class Start:
    """Processes that run together, and what they print from here on."""

    processes: list[subprocess.Popen]
    logs: list[pathlib.Path]

    def said(self, process: int) -> str:
        return self.logs[process].read_text(errors="replace")

    def wait(self, seconds: float) -> list[int | None]:
        """Exit codes; None of a process that has not ended within so many seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and None in [p.poll() for p in self.processes]:
            time.sleep(0.05)
        return [process.poll() for process in self.processes]

    def kill(self) -> None:
        """As a scheduler does where one of several has ended."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()


@dataclasses.dataclass
class Runs:
    """Runs on one dataset, and the ends of those that nothing happened to."""

    folder: pathlib.Path
    dataset: pathlib.Path = dataclasses.field(init=False)
    references: dict[int, Any] = dataclasses.field(default_factory=dict)
    seconds: dict[int, float] = dataclasses.field(default_factory=dict)
    starts: int = 0

    def __post_init__(self) -> None:
        self.dataset = write_dataset(self.folder / "dataset")

    def start(
        self, workdir: pathlib.Path, count: int, *flags: str, faults: dict[int, list[str]] | None
    ) -> Start:
        """faults: of `train_with`, by process."""
        self.starts += 1
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        started = Start([], [])
        for number in range(count):
            together = [f"--coordinator={address}", f"--num_processes={count}"]
            together.append(f"--process_id={number}")
            arguments = [
                "slow=0.1",
                *(faults or {}).get(number, []),
                "--",
                f"--config={CONFIG}",
                f"--config.data.path={self.dataset}",
                f"--workdir={workdir}",
                *flags,
                *(together if count > 1 else []),
            ]
            log = self.folder / f"start_{self.starts}_process_{number}.txt"
            with open(log, "wb") as output:
                process = subprocess.Popen(
                    [sys.executable, "-m", "tests.drills.train_with", *arguments],
                    cwd=runs.ROOT,
                    env={**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"},
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            started.processes.append(process)
            started.logs.append(log)
        return started

    def to_the_end(self, workdir: pathlib.Path, count: int) -> None:
        start = self.start(workdir, count, faults=None)
        codes = start.wait(_LONGEST_SECONDS)
        start.kill()
        if codes != [0] * count:
            said = "\n".join(start.said(number)[-3000:] for number in range(count))
            raise RuntimeError(f"train.py failed with {codes}:\n{said}")

    def reference(self, count: int) -> Any:
        """Digests and figures at the end of a run by so many processes."""
        if count not in self.references:
            self.to_the_end(self.folder / f"warm_up_{count}", count)  # fills compilation caches
            begun = time.monotonic()
            self.to_the_end(self.folder / f"reference_{count}", count)
            self.seconds[count] = time.monotonic() - begun
            self.references[count] = end_of(self.folder / f"reference_{count}")
        return self.references[count]


def end_of(workdir: pathlib.Path) -> Any:
    """All that two runs must have in common at their ends: bits, figures, the best step."""
    best = checkpoint_folder.read_best(workdir)
    return runs.saved_digests(workdir, NUM_STEPS), runs.figures(workdir), best


@dataclasses.dataclass(frozen=True)
class Results:
    """A line a case, at once; a case that passed at this commit is not run again."""

    path: pathlib.Path
    about: dict[str, Any]

    def note(self, **fields: Any) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        now = time.strftime("%FT%TZ", time.gmtime())
        with open(self.path, "a", encoding="utf-8") as file:
            line = {"time": now, "commit": alternate.commit(), **self.about, **fields}
            file.write(json.dumps(line) + "\n")

    def passed(self) -> set[Any]:
        """Cases of before."""
        lines = self.path.read_text().splitlines() if self.path.exists() else ()
        wanted = {"commit": alternate.commit(), "passed": True, **self.about}
        found = [json.loads(line) for line in lines]
        return {line["case"] for line in found if wanted.items() <= line.items()}


def arguments(description: str, cases: int, results: pathlib.Path) -> argparse.Namespace:
    """What the command line says, with `shard` and `shards`."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--cases", type=int, default=cases)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--shard", default="0/1", help="I/N: part I of N of the cases")
    parser.add_argument("--results", type=pathlib.Path, default=results, help="appended to")
    parser.add_argument("--processes", default="1,2", help="numbers of them, drawn a case")
    parser.add_argument("--without-guard", action="store_true", help="then cases must fail")
    found = parser.parse_args()
    found.shard, found.shards = (int(part) for part in found.shard.split("/"))
    found.counts = [int(part) for part in found.processes.split(",")]
    return found


def write_dataset(output: pathlib.Path) -> pathlib.Path:
    """A prepared dataset of random clip features, with captions, and a validation split."""
    generator = np.random.default_rng(0)
    writer = DatasetWriter(output, "drill", fakes.CONTRACT)
    words = "cut stir pour the onion carrot egg pan bowl slowly now into with salt".split()
    for split, count in (("train", 16), ("validation", 8)):
        for video in range(count):
            features = generator.normal(size=(12, fakes.FEATURE_DIM)).astype(np.float16)
            cues = [
                segments.Segment(
                    start=float(first),
                    end=float(first + 2),
                    text=" ".join(generator.choice(words, 5)),
                )
                for first in range(0, 10, 2)
            ]
            writer.add_video(split, f"{split}_{video}", features, cues)
    writer.finish()
    return output
