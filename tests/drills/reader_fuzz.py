"""Damaged and hostile files for every reader: each is read or refused by an error that names it;
nothing in it runs, nothing outside its folder is touched, memory and time are bounded.

    python -m tests.drills.reader_fuzz [--seed N] [--shard I/N] [--cases 2000] [--reader NAME ...]
    python -m tests.drills.reader_fuzz --reader NAME --case N      one case, with its traceback

A case is a valid seed with one or two files damaged (mutations.py), decided by the seed, the
reader's name and the case's number. Cases run in a process whose memory cannot grow by more than
the reader says (512 MiB as a rule), and that SIGALRM ends where a case takes too long; what crashes
it or hangs is one fault, and the next process goes on behind it. Every 250 cases are a line of the
results file; what is there of this code and seed is not run again.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from typing import Any

from tests.drills import campaign, fuzzing, readers
from videobert_jax.cli import failures

_BATCH = 250
_ROOT = pathlib.Path(__file__).resolve().parents[2]


def main() -> int:
    """0 where every case was read or refused as it must, 1 where one was not."""
    parser = campaign.parser(
        __doc__, "reader_fuzz.jsonl", seed_of="the damage", shard_of="batches", guard=""
    )
    parser.add_argument("--cases", type=int, default=2000, help="of each reader")
    parser.add_argument("--reader", action="append", help="this one alone; may be said again")
    parser.add_argument("--case", type=int, help="this case alone, of one --reader")
    parser.add_argument("--worker", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return _work(arguments.worker)
    every = readers.everyone()
    names = arguments.reader or list(every)
    if unknown := set(names) - set(every):
        parser.error(f"no reader {', '.join(sorted(unknown))}; there are {', '.join(every)}")
    if arguments.case is not None:
        return _one(every[names[0]], arguments.seed, arguments.case)
    for name in names:
        if missing := every[name].missing:
            print(f"{name}: left out, for {', '.join(missing)} is not installed", flush=True)
    there = [name for name in names if not every[name].missing]
    results = campaign.Results(arguments.results, {"seed": arguments.seed})
    with _Drill(results, arguments.seed) as drill:
        faults = drill.run(_batches(there, arguments.cases)[arguments.shard])
    for fault in faults:
        print(f"{fault['reader']} --case {fault['case']}: {fault['kind']}: {fault['detail']}")
    print(f"{len(faults)} faults" if faults else "every file was read or refused as it must")
    return 1 if faults else 0


def _batches(names: Sequence[str], cases: int) -> list[tuple[str, int, int]]:
    """(reader, first case, behind the last one)."""
    return [
        (name, first, min(first + _BATCH, cases))
        for first in range(0, cases, _BATCH)
        for name in names
    ]


class _Drill:
    """Batches given to a process that is started anew when it ends."""

    def __init__(self, results: campaign.Results, seed: int):
        self.results, self.seed = results, seed
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> "_Drill":
        self._folder = tempfile.TemporaryDirectory(prefix="reader_fuzz_progress_")
        self.progress = os.path.join(self._folder.name, "progress")
        self._said = pathlib.Path(self._folder.name) / "said"
        return self

    def __exit__(self, *exception: object) -> None:
        self._folder.cleanup()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def run(self, batches: Sequence[tuple[str, int, int]]) -> list[dict[str, Any]]:
        """Faults of the batches, those of earlier runs with this code included."""
        done = {
            (line["reader"], line["first"], line["behind"]): line for line in self.results.lines()
        }
        for name, first, behind in batches:
            if (name, first, behind) in done:
                continue
            begun, outcome, case = time.monotonic(), fuzzing.Outcome(), first
            while case < behind:
                last, told = self._cases(name, case, behind)
                case = last + 1
                told["faults"] = [fuzzing.Fault(**fault) for fault in told["faults"]]
                outcome.add(fuzzing.Outcome(**told))
            line = self.results.note(
                reader=name,
                first=first,
                behind=behind,
                seconds=round(time.monotonic() - begun, 2),
                **dataclasses.asdict(outcome),
            )
            done[name, first, behind] = line
            said = f"{outcome.read} read, {outcome.refused} refused, {len(outcome.faults)} faults"
            print(f"{name} {first} to {behind}: {said}, {line['seconds']} s", flush=True)
        return [fault for batch in batches for fault in done[batch]["faults"]]

    def _cases(self, name: str, first: int, behind: int) -> tuple[int, dict[str, Any]]:
        """(last case, outcome of those from `first` on) up to `behind`, or to the case that ended
        the process."""
        process = self._process
        if process is None or process.poll() is not None:
            process = self._process = self._start()
        if process.stdin is None or process.stdout is None:
            raise OSError("no pipes to the process that reads")
        asked = {"reader": name, "seed": self.seed, "first": first, "behind": behind}
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        if line := process.stdout.readline():
            return behind - 1, json.loads(line)
        code, told = process.wait(), pathlib.Path(self.progress).read_text().splitlines()
        if code == 1 or not told:  # the harness itself
            raise RuntimeError(
                f"{name}: its seed cannot be made or read; say --case 0. The process said last:\n"
                + self._said.read_text(errors="replace")[-3000:]
            )
        reached = json.loads(told[-1])
        kind = "time" if code == -signal.SIGALRM else "crash"
        fault = fuzzing.Fault(name, self.seed, reached["case"] + 1, kind, f"ended by {code}")
        reached["outcome"]["faults"].append(dataclasses.asdict(fault))
        return reached["case"] + 1, reached["outcome"]

    def _start(self) -> subprocess.Popen:
        """A process that reads; what it says of itself is in a file, of the last one only."""
        with open(self._said, "w") as said:
            return subprocess.Popen(
                [sys.executable, "-B", "-m", "tests.drills.reader_fuzz", "--worker", self.progress],
                cwd=_ROOT,
                env=os.environ | {"JAX_PLATFORMS": "cpu"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
            )


def _work(progress: pathlib.Path) -> int:
    """Answers requests, a line each; how far it came in one is in the file `progress`, for whoever
    finds this process ended."""
    every, watch = readers.everyone(), fuzzing.Watch()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, even inside a library
    benches: dict[tuple[str, int], fuzzing.Bench] = {}
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what readers say is no answer
    # Beside the file, whose folder is deleted even where this process is ended.
    with tempfile.TemporaryDirectory(dir=progress.parent) as name, open(progress, "w") as told:
        for line in sys.stdin:
            asked = json.loads(line)
            reader, key = every[asked["reader"]], (asked["reader"], asked["seed"])
            if key not in benches:
                fuzzing.unlimit_memory()
                root = pathlib.Path(name) / f"{key[0]}_{key[1]}"
                benches[key] = fuzzing.Bench(reader, root, key[1], watch)
            os.chdir(benches[key].root)  # where what runs in a file would write its canary
            fuzzing.limit_memory(reader.address_space)
            sum_of_all = fuzzing.Outcome()
            for case in range(asked["first"], asked["behind"]):
                reached = {"case": case - 1, "outcome": dataclasses.asdict(sum_of_all)}
                told.write(json.dumps(reached) + "\n")
                told.flush()
                sum_of_all.add(benches[key].run(case, limit=True))
            print(json.dumps(dataclasses.asdict(sum_of_all)), file=replies, flush=True)
    return 0


def _one(reader: readers.Reader, seed: int, case: int) -> int:
    """One case in this process, without limits; its files stay where they are."""
    bench = fuzzing.Bench(reader, pathlib.Path(tempfile.mkdtemp(prefix="reader_fuzz_")), seed)
    print(f"damaged: {', '.join(map(str, bench.damage(case)))} in {bench.folder}")
    os.chdir(bench.root)
    try:
        reader.read(bench.folder)
        print("read")
    except reader.errors as error:
        print(f"refused: {type(error).__name__}: {error}")
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(failures.exit_code(main))
