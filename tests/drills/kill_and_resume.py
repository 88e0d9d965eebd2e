"""SIGKILL at named points and at random moments of a real run of one or two processes, again and
again: the final parameters, optimiser and figures must equal, bit for bit, those of a run never
killed, and every second of the wall time must be one thing's.

    python -m tests.drills.kill_and_resume [--kills N] [--points NAME,...] [--processes 1,2]
                                   [--platform gpu] [--seed N] [--shard I/N] [--results FILE]
                                   [--without-cutting] [--without-determinism]

A run is train.py in processes of their own on a small dataset of random features, with the settings
of everything.py: packed rows, weighted sources, near-video order, stages, evaluations. A case is a
run that is killed twice and then left to finish: once at a point of kill_points.py, of which there
are 24, in the process that comes there; and once at a random moment, at which all are killed: of
the whole life of a start, or soon after a step. Where one process has killed itself the others
follow within a moment, as they do when a machine is lost. A case whose point was not reached has
failed. A case is a line of the results file at once, and one that passed with this code is not run
again. With --platform gpu a run is one process on a GPU, in bfloat16 and with `deterministic`.

With --without-cutting the figures of steps that are taken again stay in metrics.jsonl: then
cases must fail; so they must with --without-determinism on a GPU.
"""

import functools
import json
import pathlib
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.drills import campaign, everything, kill_points, several
from tests.integration import runs
from videobert_jax.data import index, neighbours
from videobert_jax.training import checkpoint_folder, goodput, metric_writers

CONFIG = pathlib.Path(everything.__file__)
NEAR = "near.safetensors"
_KILLS_A_CASE = 2
_LONGEST_SECONDS = 900.0  # until a point is reached
_UNATTRIBUTED = 0.005  # of the wall time, of which every second is one thing's
_AFTER_A_LOSS = 0.5  # seconds within which the other processes are gone too


def main() -> int:
    """0 where every run that was killed ended with the reference's bits."""
    parser = campaign.parser(
        __doc__,
        "kill_and_resume.jsonl",
        seed_of="the moments",
        guard="cutting",
        without="figures of steps that are taken again stay; then cases must fail",
    )
    parser.add_argument("--kills", type=int, default=20, help="two a case")
    parser.add_argument("--points", default=",".join(kill_points.POINTS), help="in turn")
    parser.add_argument("--processes", default="1,2", help="numbers of them, in turn")
    parser.add_argument("--platform", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--without-determinism", action="store_true", help="then cases must fail")
    given = parser.parse_args()
    points, cutting = given.points.split(","), not given.without_cutting
    guarded = cutting and not given.without_determinism
    if unknown := set(points) - set(kill_points.POINTS):
        parser.error(f"--points: {', '.join(sorted(unknown))}; {', '.join(kill_points.POINTS)}")
    counts = [int(part) for part in given.processes.split(",")]
    if given.platform == "gpu" and set(counts) != {1}:
        parser.error("--platform gpu takes --processes 1: a run there is one process")
    if given.platform == "cpu" and given.without_determinism:
        parser.error("--without-determinism is of --platform gpu: on CPU nothing is taken away")
    about = {"seed": given.seed, "processes": given.processes, "guarded": guarded}
    about |= {"points": given.points, "platform": given.platform}
    results = campaign.Results(given.results, about)
    with tempfile.TemporaryDirectory(prefix="kill_and_resume_") as name:
        made = several.Runs(
            pathlib.Path(name), CONFIG, everything.NUM_STEPS, platform=given.platform
        )
        if given.platform == "gpu":
            made.flags.append(f"--config.deterministic={not given.without_determinism}")
        write_near(made.dataset)
        near = made.dataset / NEAR
        made.flags.append(f"--config.data.sources.main.neighbours={near}")
        case = functools.partial(_Case, made, points, counts, cutting)
        numbers = range(-(-given.kills // _KILLS_A_CASE))[given.shard]
        return several.take_cases(
            results, given, numbers, guarded, lambda number, drawn: case(number, drawn).run()
        )


class _Case:
    """A run that is killed at a point and at a random moment."""

    def __init__(
        self,
        made: several.Runs,
        points: Sequence[str],
        counts: Sequence[int],
        cutting: bool,
        number: int,
        generator: random.Random,
    ) -> None:
        self.made, self.generator = made, generator
        self.name = points[number % len(points)]
        self.point = kill_points.POINTS[self.name]
        self.count = counts[(number + number // len(points)) % len(counts)]
        self.workdir, self.mark = made.folder / f"case_{number}", made.folder / f"mark_{number}"
        self.always = [] if cutting else ["uncut"]

    def run(self) -> dict[str, Any]:
        """The fields of the case's line."""
        reference = self.made.reference(self.count)
        kills: list[dict[str, Any]] = []
        try:
            for strike in self._strikes():
                kills.append(strike())
            wrong = [kill["wrong"] for kill in kills if kill["wrong"]]
            wrong = wrong or self._finished_otherwise(reference)
        except json.JSONDecodeError as error:
            wrong = [f"{metric_writers.METRICS_FILE} has a line that is none: {error}"]
        done = sum(kill["killed"] for kill in kills)
        case = {"point": self.name, "count": self.count, "kills": done}
        return {**case, "passed": not wrong, "wrong": wrong, "history": kills}

    def _strikes(self) -> list[Callable[[], dict[str, Any]]]:
        """The two kills, in an order in which both can come."""
        if self.point.late:
            return [lambda: self._at_random(saved=True), self._at_point]
        return [self._at_point, self._at_random]

    def _finished_otherwise(self, reference: Any) -> list[str]:
        """What is wrong with the end of the run; nothing where nothing is."""
        try:
            self.made.to_the_end(self.workdir, self.count, faults=self._faults({}))
        except RuntimeError as error:
            return [f"the next start fails: {str(error)[-1000:]}"]
        found = several.end_of(self.workdir, everything.NUM_STEPS)
        names = ("parameters and optimiser", "figures", "best step")
        parts = zip(names, found, reference, strict=True)
        wrong = [f"other {name}" for name, one, other in parts if one != other]
        shares = sum((goodput.read(self.workdir) or {"shares": {}})["shares"].values())
        if abs(shares - 1) > _UNATTRIBUTED:
            wrong.append(f"{goodput.GOODPUT_FILE} says what {shares:.2%} of the time was")
        return wrong

    def _at_point(self) -> dict[str, Any]:
        """A start in which one process kills itself at the point, and the others are killed."""
        victim = self.generator.randrange(self.count) if self.point.by_any else 0
        time_of = self.generator.randint(1, self.point.times)
        fault = f"killed={self.name},{time_of},{self.mark}"
        start = self._start({victim: [fault]})
        deadline = time.monotonic() + _LONGEST_SECONDS
        while start.processes[victim].poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(self.generator.uniform(0.0, _AFTER_A_LOSS))
        start.kill()
        codes, killed = [each.returncode for each in start.processes], self.mark.exists()
        wrong = "" if killed else f"{self.name} not reached: {codes}; {start.said(victim)[-500:]}"
        at = {"point": self.name, "time": time_of, "process": victim}
        return {**at, "killed": killed, "wrong": wrong, **self._left()}

    def _at_random(self, *, saved: bool = False) -> dict[str, Any]:
        """A start that is killed anywhere in its life or, half of the time, soon after a step;
        where it has ended before, that is no kill. saved: soon after its first save."""
        start, begun = self._start({}), time.monotonic()
        moment = "save" if saved else self.generator.choice(["step", "anywhere"])
        self._await(moment, start)
        codes = [each.poll() for each in start.processes]
        for process in self.generator.sample(start.processes, self.count):
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
        start.kill()
        failed = [code for code in codes if code not in (None, 0)]
        wrong = f"it failed by itself: {codes}; {start.said(0)[-500:]}" if failed else ""
        at = {"moment": moment, "after_seconds": round(time.monotonic() - begun, 2)}
        return {**at, "killed": None in codes, "wrong": wrong, **self._left()}

    def _await(self, moment: str, start: several.Start) -> None:
        first = start.processes[0]
        if moment == "anywhere":
            time.sleep(self.generator.uniform(0.0, self.made.seconds[self.count]))
        elif moment == "step":
            done = max(runs.last_reported_step(self.workdir), 0)
            last = everything.NUM_STEPS - 1
            runs.wait_for_step(
                self.workdir, self.generator.randint(min(done + 1, last), last), first
            )
            time.sleep(self.generator.uniform(0.0, 0.1))
        else:
            while first.poll() is None and not checkpoint_folder.manifest_steps(self.workdir):
                time.sleep(0.02)
            time.sleep(self.generator.uniform(0.0, 1.0))

    def _left(self) -> dict[str, Any]:
        """What the killed start left."""
        return {
            "reported": runs.last_reported_step(self.workdir),
            "manifests": checkpoint_folder.manifest_steps(self.workdir),
            "checkpoints": checkpoint_folder.checkpoint_steps(self.workdir),
        }

    def _start(self, faults: dict[int, list[str]]) -> several.Start:
        return self.made.start(self.workdir, self.count, faults=self._faults(faults))

    def _faults(self, special: dict[int, list[str]]) -> dict[int, list[str]]:
        """Those of every start, and of this one's processes."""
        return {i: [*self.always, *special.get(i, [])] for i in range(self.count)}


def write_dataset(output: pathlib.Path) -> pathlib.Path:
    """A prepared dataset of sixteen videos, and an order of them."""
    campaign.write_dataset(output, {"train": 16})
    write_near(output)
    return output


def write_near(dataset: pathlib.Path) -> None:
    """An order of the training videos, beside them."""
    split = index.open_dataset(dataset).split("train")
    order = np.random.default_rng(0).permutation(len(split.videos))
    neighbours.write(dataset / NEAR, split, order, {"checkpoint": "none"})


if __name__ == "__main__":
    sys.exit(main())
