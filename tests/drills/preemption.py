"""SIGTERM at random moments of a real run of one or several processes, again and again: all must
stop at one step, save it, exit with code 75, and in the end have the bits and figures of a run that
was never stopped.

    python -m tests.drills.preemption [--cases N] [--seed N] [--shard I/N] [--results FILE]
                                      [--processes 1,2,4] [--without-guard]

A case is a run of two stages with evaluations (two_stages.py) that is stopped three times, each
time by SIGTERM to one process or to all: at a moment of the whole life of a start (so often while
it starts and compiles), soon after a step, or soon after a step that is evaluated. A case is a line
of the results file at once, and one that passed with this code is not run again. With
--without-guard SIGTERM is left to the system: then cases must fail.
"""

import contextlib
import pathlib
import random
import re
import sys
import time
from typing import Any

from tests.drills import several, two_stages
from tests.integration import runs
from videobert_jax.files import stopping
from videobert_jax.training import checkpoint_folder

_STOPS = 3
_GRACE_SECONDS = 100.0  # on a machine that has other work; Slurm's here are 120
_BEFORE_HANDLERS = -15  # Python still imports the program, and the system ends it


def main() -> int:
    """0 where every case did as it must, 1 where one did not."""
    return several.drill(__doc__, "preemption", 20, _case)


def _case(
    made: several.Runs, case: int, generator: random.Random, counts: list[int], guarded: bool
) -> dict[str, Any]:
    count = generator.choice(counts)
    reference, workdir = made.reference(count), made.folder / f"case_{case}"
    stops: list[dict[str, Any]] = []
    for _ in range(_STOPS):
        stops.append(_stop(made, workdir, count, generator, guarded))
        if stops[-1]["wrong"] or stops[-1]["codes"] == [0] * count:
            break
    wrong = [stop["wrong"] for stop in stops if stop["wrong"]]
    if not wrong:
        made.to_the_end(workdir, count)
        if several.end_of(workdir) != reference:
            wrong.append("the end has other bits or figures than the run never stopped")
    return {"count": count, "passed": not wrong, "wrong": wrong, "stops": stops}


def _stop(
    made: several.Runs,
    workdir: pathlib.Path,
    count: int,
    generator: random.Random,
    guarded: bool,
) -> dict[str, Any]:
    """One start, stopped; what was done, and what is wrong with how it ended."""
    before = checkpoint_folder.manifest_steps(workdir)[-1:]
    faults = None if guarded else {i: ["no_stop_signal"] for i in range(count)}
    start = made.start(workdir, count, faults=faults)
    moment = generator.choice(["anywhere", "step", "evaluation"])
    _await(moment, workdir, start, generator, made.seconds[count])
    up = all("devices:" in start.said(i) for i in range(count))
    to = [generator.randrange(count)] if generator.random() < 0.7 and up else range(count)
    asked = time.monotonic()
    for number in to:
        with contextlib.suppress(ProcessLookupError):
            runs.terminate(start.processes[number])
    codes = start.wait(_GRACE_SECONDS)
    took = time.monotonic() - asked
    start.kill()
    said = [start.said(i) for i in range(count)]
    return {
        "moment": moment,
        "signalled": list(to),
        "codes": codes,
        "seconds_to_end": round(took, 2),
        "reported": runs.last_reported_step(workdir),
        "saved": checkpoint_folder.manifest_steps(workdir)[-1:],
        "wrong": _wrong(workdir, before, codes, said),
    }


def _await(
    moment: str,
    workdir: pathlib.Path,
    start: several.Start,
    generator: random.Random,
    seconds: float,
) -> None:
    done = max(runs.last_reported_step(workdir), 0)
    ahead = range(done + 1, several.NUM_STEPS + 1)
    if moment == "evaluation":
        ahead = [step for step in ahead if step % two_stages.EVAL_EVERY == 0] or ahead[-1:]
    if moment == "anywhere" or not ahead:
        time.sleep(generator.uniform(0.0, seconds))
    else:
        runs.wait_for_step(workdir, generator.choice(ahead), start.processes[0])
        time.sleep(generator.uniform(0.0, 0.1 if moment == "step" else 1.0))


def _wrong(
    workdir: pathlib.Path, before: list[int], codes: list[int | None], said: list[str]
) -> str:
    """What is wrong with how a start ended; nothing where nothing is."""
    shown = f"codes {codes}; {said[0][-500:]}"
    saved = checkpoint_folder.manifest_steps(workdir)[-1:]
    not_up = {i for i, code in enumerate(codes) if code == _BEFORE_HANDLERS and not said[i]}
    if not_up and all(i in not_up or code == stopping.STOPPED for i, code in enumerate(codes)):
        return "" if saved == before else f"saved before it began: {shown}"
    if set(codes) == {0}:
        return "" if saved == [several.NUM_STEPS] else f"ended before its end: {shown}"
    if set(codes) != {stopping.STOPPED}:
        return f"other codes: {shown}"
    claimed = re.findall(r"saved step (\d+); start again", said[0])
    if not claimed:
        return "" if saved == before else f"saved without a word: {shown}"
    if saved != [int(claimed[0])]:
        return f"saved {saved}: {shown}"
    if runs.last_reported_step(workdir) not in (saved[0], max(saved[0] - 1, -1)):
        return f"reported to {runs.last_reported_step(workdir)}: {shown}"
    return ""


if __name__ == "__main__":
    sys.exit(main())
