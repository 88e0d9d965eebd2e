"""A run of 64 steps is stopped after each of them and goes on: parameters, optimiser, average and
figures at its end must be, bit for bit, those of the run never stopped.

    python -m tests.drills.every_step [--saves waited-for,background] [--steps 0,1,...] [--seed N]
                                      [--shard I/N] [--results FILE] [--without-position]

A case is a step and how it is saved. `waited-for`: the run is asked to stop there, and ends once
that save is whole. `background`: the save of the step is begun and the run goes on, through steps
that take the saved values' place in memory, until an error ends it; what it reported of those
steps is cut off by the start that follows. The run is that of everything.py, without evaluations.
All cases are taken by one process, so that programs are compiled once, with little optimisation;
the drawn parameters of step 0 are kept, and copied for each case. A case is a line of the results
file at once, and one that passed with this code is not run again. With --without-position every
start takes its stage's batches from the first: then cases must fail.
"""

import contextlib
import dataclasses
import io
import pathlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp

from tests.drills import campaign, everything, kill_and_resume
from tests.integration import runs
from videobert_jax import configuration
from videobert_jax.cli import failures
from videobert_jax.training import checkpoint_folder, goodput, loop, stages, state, steps

SAVES = ("waited-for", "background")
_FURTHER = 3  # steps taken while a save is under way


class _EndedError(Exception):
    """What ends a run that was not asked to stop."""


def get_config() -> Any:
    """The settings of everything.py, without evaluations."""
    config: Any = everything.get_config()
    config.training.eval_every = 0
    config.training.best_metric = ""
    return config


@dataclasses.dataclass
class Drill:
    """Cases on one dataset, and the end of the run that was never stopped."""

    folder: pathlib.Path
    config: Any
    positioned: bool = True

    def __post_init__(self) -> None:
        dataset = kill_and_resume.write_dataset(self.folder / "dataset")
        self.config.data.path = str(dataset)
        self.config.data.sources.main.neighbours = str(dataset / kill_and_resume.NEAR)
        self.num_steps = self.config.training.num_steps
        self._create = _Kept(state.create_state)
        begun = time.monotonic()
        self._train(self.folder / "reference")
        self.reference = self._end(self.folder / "reference")
        self.seconds = time.monotonic() - begun

    def case(self, saves: str, step: int) -> dict[str, Any]:
        """What came of a run that ended after so many steps and was started again."""
        workdir, begun = self.folder / f"{saves}_{step}", time.monotonic()
        if saves == "waited-for":
            self._train(workdir, stop=lambda reached: reached == step)
        else:
            self._train_until_error(workdir, step)
        saved = checkpoint_folder.manifest_steps(workdir)[-1:]
        reported = runs.last_reported_step(workdir)
        said = self._train(workdir)
        digests, figures = self._end(workdir)
        wrong = [
            text
            for text, is_wrong in (
                (f"the steps saved are {saved}", saved != ([step] if step else [])),
                (
                    f"it did not go on at step {step}",
                    step > 0 and f": continues at step {step} of" not in said,
                ),
                ("other parameters, optimiser or average", digests != self.reference[0]),
                ("other figures", figures != self.reference[1]),
            )
            if is_wrong
        ]
        shutil.rmtree(workdir)
        seconds = round(time.monotonic() - begun, 2)
        return {"reported": reported, "wrong": wrong, "passed": not wrong, "seconds": seconds}

    def _train_until_error(self, workdir: pathlib.Path, step: int) -> None:
        """A run that saves a step, and no later one, while it takes some steps more; then it ends
        by an error."""
        last = min(step + _FURTHER, 2 * step if step else 1, self.num_steps)

        def taken(_: goodput.Goodput, reached: int) -> None:
            if reached == last:
                raise _EndedError

        with (
            contextlib.suppress(_EndedError),
            mock.patch.object(goodput.Goodput, "taken", taken),
        ):
            self._train(workdir, save_every=step or self.num_steps)

    def _train(
        self,
        workdir: pathlib.Path,
        *,
        stop: Callable[[int], bool] | None = None,
        save_every: int | None = None,
    ) -> str:
        """One start; what it said."""
        config = self.config.copy_and_resolve_references()
        config.training.save_every = save_every or self.num_steps
        with self._patches(), contextlib.redirect_stdout(io.StringIO()) as said:
            loop.train(
                configuration.parse(config),
                configuration.to_json(config),
                workdir,
                evaluators=(),
                stop=stop,
            )
        return said.getvalue()

    def _end(self, workdir: pathlib.Path) -> tuple[Any, Any]:
        return runs.saved_digests(workdir, self.num_steps), runs.figures(workdir)

    def _patches(self) -> contextlib.ExitStack:
        """What only takes time is left out or kept; and where it is to bite, the position."""
        stack = contextlib.ExitStack()
        norms = mock.patch.object(steps, "objective_gradient_norms", lambda *_, **__: {"all": 1.0})
        stack.enter_context(norms)
        stack.enter_context(mock.patch.object(state, "create_state", self._create))
        if not self.positioned:
            feed = stages.Stage.feed
            of_first = mock.patch.object(stages.Stage, "feed", lambda s, _: feed(s, s.first_step))
            stack.enter_context(of_first)
        return stack


class _Kept:
    """A function's first result, copied at each call: a training step takes the place of its
    argument in memory."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function, self._made = function, None

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        if self._made is None:
            self._made = self._function(*arguments, **options)
        return jax.tree.map(jnp.copy, self._made)


def main() -> int:
    """0 where every case ended as the run never stopped, 1 where one did not."""
    parser = campaign.parser(
        __doc__,
        "every_step.jsonl",
        seed_of="parameters and data",
        guard="position",
        without="every start takes its stage's batches from the first",
    )
    parser.add_argument("--saves", default=",".join(SAVES))
    parser.add_argument("--steps", help="those that it stops after; all, where nothing is said")
    arguments = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 1)
    jax.config.update("jax_disable_most_optimizations", True)
    positioned, config = not arguments.without_position, get_config()
    config.seed = arguments.seed
    results = campaign.Results(
        arguments.results, {"seed": arguments.seed, "positioned": positioned}
    )
    done, failed = results.passed() if positioned else {}, []
    cases = _cases(arguments.saves, arguments.steps)[arguments.shard]
    with tempfile.TemporaryDirectory(prefix="every_step_") as name:
        drill = Drill(pathlib.Path(name), config, positioned)
        results.note(event="reference", seconds=round(drill.seconds, 1))
        for saves, step in cases:
            case = f"{saves} {step}"
            found = done.get(case) or results.note(case=case, **drill.case(saves, step))
            if not found["passed"]:
                failed.append(case)
                print(f"{case}: {'; '.join(found['wrong'])}", flush=True)
    print(f"{len(cases)} cases: {len(failed)} ended otherwise than the run never stopped")
    return 1 if failed else 0


def _cases(saves: str, chosen: str | None) -> Sequence[tuple[str, int]]:
    numbers = [int(part) for part in chosen.split(",")] if chosen else range(everything.NUM_STEPS)
    return [(each, step) for step in numbers for each in saves.split(",")]


if __name__ == "__main__":
    sys.exit(failures.exit_code(main))
