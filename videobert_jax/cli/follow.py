"""`python eval.py --workdir=DIR --follow`: every checkpoint of a run under way, as it appears.

Another process than the training, on another machine if it likes: the two share the workdir alone.
It looks for manifests, without which no checkpoint counts, evaluates the oldest one that it has
not, and ends with the run's last step. A step's records stand in OUTPUT/STEP/, and beside them
evaluated.json, which is written last: a follower that is started again goes on behind it.
"""

import argparse
import sys
import time
from typing import Any

import jax

from videobert_jax import loading
from videobert_jax.cli import evaluate
from videobert_jax.files import atomic, json_values, storage
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.training import checkpoint_folder, run_record

EVALUATED_FILE = "evaluated.json"
# Where things are, and how the command was called. All else decides figures: said otherwise, a
# step is evaluated again.
_NO_FIGURES = frozenset(
    "checkpoint workdir predictions ids output report follow platform command settings "
    "coordinator num_processes process_id".split()
)


def run(arguments: argparse.Namespace) -> int:
    """0 once the run's last step is evaluated.

    Raises EvaluationError on flags that say something else, and CheckpointError where the last
    step does not verify.
    """
    _require_followable(arguments)
    workdir = storage.path(arguments.workdir)
    storage.require_readable(workdir)
    output = storage.path(arguments.output or workdir / "eval")
    passed: set[int] = set()  # evaluated, or found damaged
    waiting = ""
    while True:
        steps = [step for step in checkpoint_folder.manifest_steps(workdir) if step not in passed]
        if steps:
            step, waiting = steps[0], ""
            _evaluate(arguments, workdir, step, output / str(step))
            passed.add(step)
            continue
        last = _last_step(workdir)
        if last in passed:
            print(f"{workdir}: step {last}, the last one, is evaluated", flush=True)
            return 0
        now_waiting = f"{workdir}: waiting for {'a run' if last is None else 'a checkpoint'}"
        if waiting != now_waiting:
            waiting = now_waiting
            print(waiting, flush=True)
        time.sleep(arguments.follow)


def _require_followable(arguments: argparse.Namespace) -> None:
    if arguments.workdir is None:
        raise EvaluationError("--follow is of a run: say --workdir=DIR in place of --checkpoint.")
    if arguments.output is not None and arguments.output.endswith(".json"):
        raise EvaluationError(
            f"--output={arguments.output} is one file for the results of many steps; name a folder."
        )
    if not arguments.follow > 0:
        raise EvaluationError(f"--follow={arguments.follow}: expected seconds above 0.")
    if jax.process_count() > 1:
        raise EvaluationError(
            f"--follow is for one process, found {jax.process_count()}; start it alone, without "
            "JAX_COORDINATOR_ADDRESS."
        )


def _last_step(workdir: storage.Path) -> int | None:
    """At which the run is finished; None while there is no run."""
    if not (workdir / run_record.CONFIG_FILE).is_file():
        return None
    return run_record.read_settings(workdir)["training"]["num_steps"]


def _evaluate(
    arguments: argparse.Namespace, workdir: storage.Path, step: int, output: storage.Path
) -> None:
    """Writes the records of a step, unless they are there; says where it cannot be had."""
    given = {name: of for name, of in vars(arguments).items() if name not in _NO_FIGURES}
    marker = output / EVALUATED_FILE
    if _evaluated(marker, given):
        print(f"step {step}: evaluated already -> {output}", flush=True)
        return
    try:
        bundle = loading.load_bundle(f"{workdir}@{step}", arguments.weights)
    except checkpoint_folder.CheckpointError as error:
        if step not in checkpoint_folder.manifest_steps(workdir):
            print(f"step {step}: deleted before it was read; skipped", file=sys.stderr, flush=True)
        elif step == _last_step(workdir):
            raise
        else:
            print(f"step {step}: skipped: {error}", file=sys.stderr, flush=True)
        return
    evaluate.measure(bundle, arguments, str(workdir), output)
    atomic.write_json(marker, {"step": step, "digest": bundle.digest, "arguments": given})


def _evaluated(marker: storage.Path, given: dict[str, Any]) -> bool:
    """Whether a step was evaluated as these arguments ask for."""
    if not marker.is_file():
        return False
    try:
        return json_values.parse(marker.read_text(encoding="utf-8"))["arguments"] == given
    except (ValueError, KeyError, TypeError):
        return False  # it is written anew
