"""SIGKILL at random moments of a real run, again and again: the final parameters must equal, bit
for bit, those of a run never killed.

    python -m tests.drills.kill_and_resume --kills 20 [--seed N] [--shard I/N] [--results FILE]

A run is train.py in a process of its own on a small dataset of random features, with the settings
of everything.py: packed rows, weighted sources, near-video order, stages. Moments are drawn between
the start of the process and what a whole run takes, so that kills fall into start-up, compilation,
steps, saves and restores. Every kill is a line of the results file at once, so the drill itself may
be stopped; with --shard several machines share the kills.
"""

import pathlib
import random
import signal
import sys
import tempfile
import time
from typing import Any

import numpy as np

from tests.drills import campaign, everything
from tests.integration import runs
from videobert_jax.data import index, neighbours
from videobert_jax.training import checkpoint_folder

CONFIG = pathlib.Path(__file__).with_name("everything.py")
NUM_STEPS = everything.NUM_STEPS
_KILLS_A_RUN = 5  # then a run is left to finish and is compared
NEAR = "near.safetensors"


def main() -> int:
    """0 where every run that was killed ended with the reference's bits."""
    parser = campaign.parser(
        __doc__, "kill_and_resume.jsonl", seed_of="the moments", shard_of="kills", guard=""
    )
    parser.add_argument("--kills", type=int, default=20)
    arguments = parser.parse_args()
    kills = len(range(arguments.kills)[arguments.shard])
    generator = random.Random(f"{arguments.seed} {arguments.shard.start}")
    results = campaign.Results(arguments.results, {"seed": arguments.seed})
    with tempfile.TemporaryDirectory(prefix="kill_and_resume_") as name:
        drill = _Drill(pathlib.Path(name), results, generator)
        differing = drill.run(kills)
    if differing:
        print(f"other bits than the run never killed: {', '.join(differing)}")
        return 1
    print(f"{kills} kills: every run ended with the bits of the one never killed")
    return 0


class _Drill:
    """A reference run, and runs that are killed and continued until they end."""

    def __init__(self, folder: pathlib.Path, results: campaign.Results, generator: random.Random):
        self.folder, self.results, self.generator = folder, results, generator
        self.dataset = write_dataset(folder / "dataset")
        self.log = folder / "log.txt"

    def run(self, kills: int) -> list[str]:
        """Workdirs that ended otherwise than the reference; empty where none did."""
        self._to_the_end(self.folder / "warm_up")  # fills the compilation cache
        begun = time.monotonic()
        reference = self.folder / "reference"
        self._to_the_end(reference)
        seconds = time.monotonic() - begun
        self.results.note(event="reference", seconds=round(seconds, 2))
        expected = runs.saved_digests(reference, NUM_STEPS), runs.figures(reference)
        differing, done, number = [], 0, 0
        while done < kills:
            workdir = self.folder / f"killed_{number}"
            for _ in range(min(_KILLS_A_RUN, kills - done)):
                if not self._kill(workdir, seconds):
                    break  # it had ended before its moment came, which is no kill
                done += 1
                print(f"{done} of {kills} kills", flush=True)
            self._to_the_end(workdir)
            equal = (runs.saved_digests(workdir, NUM_STEPS), runs.figures(workdir)) == expected
            self.results.note(event="compared", run=number, equal=equal)
            if not equal:
                differing.append(str(workdir))
            number += 1
        return differing

    def _start(self, workdir: pathlib.Path) -> Any:
        arguments = [
            f"--config={CONFIG}",
            "--config.platform=cpu",
            f"--config.data.path={self.dataset}",
            f"--config.data.sources.main.neighbours={self.dataset / NEAR}",
        ]
        return runs.start(workdir, arguments, devices=1, log=self.log)

    def _to_the_end(self, workdir: pathlib.Path) -> None:
        process = self._start(workdir)
        if process.wait() != 0:
            raise RuntimeError(f"train.py failed:\n{self.log.read_text()[-3000:]}")

    def _kill(self, workdir: pathlib.Path, seconds: float) -> bool:
        """Whether it was killed: anywhere in its life or, half of the time, soon after a step."""
        process = self._start(workdir)
        begun = time.monotonic()
        if self.generator.random() < 0.5:
            done = max(runs.last_reported_step(workdir), 0)
            target = self.generator.randint(min(done + 1, NUM_STEPS - 1), NUM_STEPS - 1)
            runs.wait_for_step(workdir, target, process)
            time.sleep(self.generator.uniform(0.0, 0.05))
        else:
            time.sleep(self.generator.uniform(0.0, seconds))
        ended = process.poll()
        if ended is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        elif ended != 0:
            raise RuntimeError(f"train.py failed:\n{self.log.read_text()[-3000:]}")
        self.results.note(
            event="kill",
            after_seconds=round(time.monotonic() - begun, 3),
            had_ended=ended is not None,
            last_reported_step=runs.last_reported_step(workdir),
            manifests=checkpoint_folder.manifest_steps(workdir),
            checkpoints=checkpoint_folder.checkpoint_steps(workdir),
        )
        return ended is None


def write_dataset(output: pathlib.Path) -> pathlib.Path:
    """A prepared dataset of sixteen videos, and an order of them."""
    campaign.write_dataset(output, {"train": 16})
    split = index.open_dataset(output).split("train")
    order = np.random.default_rng(0).permutation(16)
    neighbours.write(output / NEAR, split, order, {"checkpoint": "none"})
    return output


if __name__ == "__main__":
    sys.exit(main())
