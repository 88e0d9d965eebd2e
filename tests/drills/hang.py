"""One of several processes is frozen, killed, or waits for ever for its data: the others must say
so and end, and a loop that starts all again must bring the run to the bits of one that never hung.

    python -m tests.drills.hang [--cases N] [--seed N] [--shard I/N] [--results FILE]
                                [--processes 2,4] [--without-guard]

A case is a fault of one process, after a step that is drawn: `frozen` (SIGSTOP), `killed`
(SIGKILL), or `stuck` (its main thread waits in the input, the others go on). The loop is what a
scheduler does: where one process ends otherwise than well, what is left of the others is ended
after a while, and all are started again. A case is a line of the results file at once, and one that
passed with this code is not run again. With --without-guard nobody watches
(training.step_timeout_seconds=0): then cases must fail.
"""

import pathlib
import random
import signal
import sys
import time
from typing import Any

from tests.drills import several
from tests.integration import runs
from videobert_jax.files import stopping
from videobert_jax.training import watchdog

KINDS = ("frozen", "stuck", "killed")
_TIMEOUT_SECONDS = 20.0  # of a step, which takes some hundredths
_NOTICED_SECONDS = 90.0  # that, what they wait for each other, and a machine with other work
_LOST_SECONDS = 200.0  # within which the others miss a process that is killed
_START_SECONDS = 900.0
_MOST_STARTS = 4


def main() -> int:
    """0 where every case did as it must, 1 where one did not."""
    return several.drill(__doc__, "hang", 12, _case)


def _case(
    made: several.Runs, case: int, generator: random.Random, counts: list[int], guarded: bool
) -> dict[str, Any]:
    count = generator.choice([count for count in counts if count > 1] or [2])
    kind, bad = KINDS[case % len(KINDS)], generator.randrange(count)
    step = generator.randrange(1, several.NUM_STEPS - 3)
    reference, workdir = made.reference(count), made.folder / f"case_{case}"
    mark = made.folder / f"stuck_{case}"
    timeout = f"--config.training.step_timeout_seconds={_TIMEOUT_SECONDS if guarded else 0.0}"
    faults = {bad: [f"stuck={mark}"]} if kind == "stuck" else None
    start = made.start(workdir, count, timeout, faults=faults)
    runs.wait_for_step(workdir, step, start.processes[0])
    _strike(kind, start, bad, mark)
    struck, wrong = time.monotonic(), ""
    codes = _ended_alive(start, bad, _LOST_SECONDS if kind == "killed" else _NOTICED_SECONDS)
    took = time.monotonic() - struck
    start.kill()
    mark.unlink(missing_ok=True)
    said = "\n".join(start.said(i) for i in range(count))
    if None in codes.values():
        wrong = f"still alive after {took:.0f} s: {codes}"
    elif kind != "killed":
        wrong = _unsaid(kind, bad, codes, said, workdir)
    starts = 1
    while starts < _MOST_STARTS:  # the loop
        again = made.start(workdir, count, timeout, faults=None)
        ended = again.wait(_START_SECONDS)
        again.kill()
        starts += 1
        if ended == [0] * count:
            break
    if not wrong and several.end_of(workdir) != reference:
        wrong = "the end has other bits or figures than the run that never hung"
    return {
        "kind": kind,
        "process": f"{bad} of {count}",
        "after_step": step,
        "codes": codes,
        "seconds_to_end": round(took, 1),
        "starts": starts,
        "passed": not wrong,
        "wrong": wrong,
    }


def _strike(kind: str, start: several.Start, bad: int, mark: pathlib.Path) -> None:
    if kind == "stuck":
        mark.touch()
    else:
        number = signal.SIGSTOP if kind == "frozen" else signal.SIGKILL
        start.processes[bad].send_signal(number)


def _ended_alive(start: several.Start, bad: int, seconds: float) -> dict[int, int | None]:
    """Exit codes of the processes but the bad one, None of those that go on after so long."""
    alive = [number for number in range(len(start.processes)) if number != bad]
    others = several.Start([start.processes[i] for i in alive], [start.logs[i] for i in alive])
    return dict(zip(alive, others.wait(seconds), strict=True))


def _unsaid(
    kind: str, bad: int, codes: dict[int, int | None], said: str, workdir: pathlib.Path
) -> str:
    """What the processes should have done or said and did not."""
    if set(codes.values()) != {stopping.HUNG}:
        return f"other codes: {codes}; {said[-1000:]}"
    blamed = f"{'Silent' if kind == 'frozen' else 'Behind the others'}: process {bad} "
    if blamed not in said:
        return f"nobody said {blamed!r}: {said[-1000:]}"
    if not list((workdir / watchdog.HANGS).glob("*_process_*.txt")):
        return "no stacks in the workdir"
    return ""


if __name__ == "__main__":
    sys.exit(main())
