"""Runs of train.py by one or several processes on this machine, for drills that signal them."""

import argparse
import dataclasses
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from tests.drills import campaign, two_stages
from tests.integration import runs
from videobert_jax.training import checkpoint_folder, hardware

CONFIG = pathlib.Path(two_stages.__file__)
NUM_STEPS = two_stages.NUM_STEPS
# By platform. On CPU little is optimised, since what these runs take is mostly the time of
# compiling them; on a GPU, of which several runs may each take a part, programs are those of users.
_VARIABLES = {
    "cpu": {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
    "gpu": {"JAX_PLATFORMS": "cuda,cpu", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
}
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
    """Runs on one dataset, and the ends of those that nothing happened to.

    platform: "gpu" for `deterministic` runs there, all with the programs that the first of them
    compiled: another choice of autotuning would have other bits.
    """

    folder: pathlib.Path
    config: pathlib.Path = CONFIG
    num_steps: int = NUM_STEPS
    flags: list[str] = dataclasses.field(default_factory=list)  # of every start
    platform: str = "cpu"
    dataset: pathlib.Path = dataclasses.field(init=False)
    references: dict[int, Any] = dataclasses.field(default_factory=dict)
    seconds: dict[int, float] = dataclasses.field(default_factory=dict)
    starts: int = 0

    def __post_init__(self) -> None:
        splits = {"train": 16, "validation": 8}
        self.dataset = campaign.write_dataset(self.folder / "dataset", splits)
        if self.platform == "gpu":
            self.flags += ["--config.platform=gpu", "--config.model.compute_dtype=bfloat16"]

    def start(
        self, workdir: pathlib.Path, count: int, *flags: str, faults: dict[int, list[str]] | None
    ) -> Start:
        """faults: of `train_with`, by process."""
        self.starts += 1
        self._take_programs(workdir, count)
        started = Start([], [])
        for number, together in enumerate(runs.flags_of_processes(count)):
            arguments = [
                f"--config={self.config}",
                f"--config.data.path={self.dataset}",
                *self.flags,
                *flags,
                *(together if count > 1 else []),
            ]
            log = self.folder / f"start_{self.starts}_process_{number}.txt"
            process = runs.start(
                workdir,
                arguments,
                devices=1,
                log=log,
                faults=["slow=0.1", *(faults or {}).get(number, [])],
                variables=_VARIABLES[self.platform],
            )
            started.processes.append(process)
            started.logs.append(log)
        return started

    def _take_programs(self, workdir: pathlib.Path, count: int) -> None:
        """Those of the warm-up, where a deterministic run has none yet."""
        made = self.folder / f"warm_up_{count}" / hardware.KEPT_PROGRAMS
        if made.exists() and not (workdir / hardware.KEPT_PROGRAMS).exists():
            shutil.copytree(made, workdir / hardware.KEPT_PROGRAMS)

    def to_the_end(
        self, workdir: pathlib.Path, count: int, *, faults: dict[int, list[str]] | None = None
    ) -> None:
        start = self.start(workdir, count, faults=faults)
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
            self.references[count] = end_of(self.folder / f"reference_{count}", self.num_steps)
        return self.references[count]


def end_of(workdir: pathlib.Path, num_steps: int = NUM_STEPS) -> Any:
    """All that two runs must have in common at their ends: bits, figures, the best step."""
    best = checkpoint_folder.read_best(workdir)
    return runs.saved_digests(workdir, num_steps), runs.figures(workdir), best


def drill(
    description: str | None,
    name: str,
    cases: int,
    case: Callable[[Runs, int, random.Random, list[int], bool], dict[str, Any]],
) -> int:
    """0 where every case did as it must, 1 where one did not. case: of the runs, a case's number
    and moments, numbers of processes to draw from, and whether the guard is on; what it gives says
    whether it "passed"."""
    parser = campaign.parser(description, f"{name}.jsonl", seed_of="the moments")
    parser.add_argument("--cases", type=int, default=cases)
    parser.add_argument("--processes", default="1,2", help="numbers of them, drawn a case")
    given = parser.parse_args()
    counts, guarded = [int(part) for part in given.processes.split(",")], not given.without_guard
    about = {"seed": given.seed, "processes": given.processes, "guarded": guarded}
    results = campaign.Results(given.results, about)
    with tempfile.TemporaryDirectory(prefix=f"{name}_") as folder:
        made = Runs(pathlib.Path(folder))

        def of_number(number: int, generator: random.Random) -> dict[str, Any]:
            return case(made, number, generator, counts, guarded)

        return take_cases(results, given, range(given.cases)[given.shard], guarded, of_number)


def take_cases(
    results: campaign.Results,
    given: argparse.Namespace,
    numbers: Sequence[int],
    guarded: bool,
    case: Callable[[int, random.Random], dict[str, Any]],
) -> int:
    """0 where every case of these numbers did as it must, now or before; 1 where one did not. case:
    as in `drill`, of a number and its moments."""
    done = results.passed() if guarded else {}
    failed = []
    for number in numbers:
        if number in done:
            continue
        generator, begun = random.Random(f"{given.seed} {number}"), time.monotonic()
        fields = case(number, generator)
        results.note(case=number, **fields, seconds=round(time.monotonic() - begun, 1))
        failed += [] if fields["passed"] else [number]
        print(f"case {number}: {fields}", flush=True)
    print(f"not as they must: cases {failed}" if failed else "every case went as it must")
    return 1 if failed else 0
