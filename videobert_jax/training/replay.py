"""A step of a run once more, from a checkpoint before it: what was its batch, what came of it.

Nothing in the workdir is changed. On the devices, mesh and versions that the run had, every figure
is the one that was logged, bit for bit.
"""

import bisect
import dataclasses
import json
import math
from typing import Any

import jax

from videobert_jax.configuration import RunConfig
from videobert_jax.files import progress, storage
from videobert_jax.training import (
    checkpoint_folder,
    inputs,
    metric_writers,
    restoring,
    rollback,
    run_record,
    stages,
    state,
)


class ReplayError(ValueError):
    """A step that cannot be taken again from what the workdir has."""


@dataclasses.dataclass(frozen=True)
class Replayed:
    """A step taken again.

    step: steps taken with it. began_at: of the checkpoint. figures: of the step; None where not
    finite. logged: those that metrics.jsonl has of it, None where it was not logged. examples: the
    batch's, a dict a block with split, regime, and ids, videos and texts of its examples.
    """

    step: int
    began_at: int
    figures: dict[str, float | None]
    logged: dict[str, float | None] | None
    examples: list[dict[str, Any]]

    @property
    def differing(self) -> list[str]:
        """Names of the figures that are not those logged, bit for bit."""
        if self.logged is None:
            return []
        shared = self.figures.keys() & self.logged.keys()
        return sorted(name for name in shared if self.figures[name] != self.logged[name])


def replay(
    workdir: storage.Path,
    *,
    step: int | None = None,
    position: int | None = None,
    source: str | None = None,
) -> Replayed:
    """Takes the step again that made the figures of `step`, or that read an example of a source.

    position: a data position, of the source of that name in data.sources; None: the first. Raises
    ReplayError where no checkpoint is old enough or the run has no such step, and what opening a
    run raises.
    """
    run = run_record.run_config(workdir)
    left = rollback.left_out(rollback.recorded(workdir))
    mesh = stages.create_mesh(run)
    opened = inputs.open_inputs(run, workdir, None, None, begins=False, left=left)
    of_run = stages.create(run, opened, mesh, left)
    if step is None:
        step = 1 + _step_of(run, of_run, position or 0, source)
    if not 0 < step <= run.training.num_steps:
        raise ReplayError(
            f"step {step}: {workdir} is a run of {run.training.num_steps} steps; say 1 to that."
        )
    known = [each for each in checkpoint_folder.manifest_steps(workdir) if each < step]
    fingerprint = run_record.fingerprint(run_record.read_settings(workdir))
    restorer = restoring.Restorer(storage.absolute(workdir), frozenset({fingerprint}))
    restored = restorer.newest(known, lambda at: stages.at(of_run, at).step.state)
    if restored is not None:
        begin, current = restored.step, stages.with_window(restored.state, of_run, restored.step)
    else:
        begin, current = 0, _first_state(workdir, run, of_run[0], opened)
    figures = _taken(current, begin, step, of_run)
    examples = _examples(stages.at(of_run, step - 1), step - 1)
    return Replayed(step, begin, figures, _logged(workdir, step), examples)


def _first_state(
    workdir: storage.Path, run: RunConfig, stage: stages.Stage, opened: inputs.RunInputs
) -> Any:
    """The state of step 0. Raises ReplayError where it was not random parameters alone."""
    if run.init.checkpoint or run.init.bert or run.data.visual_words:
        steps = ", ".join(map(str, checkpoint_folder.manifest_steps(workdir))) or "none"
        raise ReplayError(
            f"{workdir} has no checkpoint from before that step, and it began from more than "
            "random parameters (init.checkpoint, init.bert or data.visual_words). Checkpoints: "
            f"{steps}; say a step behind one of them."
        )
    return state.create_state(stage.model, stage.rule, stage.mesh, run.seed, opened.statistics)


def _step_of(
    run: RunConfig, of_run: tuple[stages.Stage, ...], position: int, source: str | None
) -> int:
    """Steps taken before the one that reads a position of a source."""
    names = [each.name for each in run.data.sources]
    if source is not None and source not in names:
        raise ReplayError(f"source {source!r} is none of {', '.join(names)}.")
    number = names.index(source) if source is not None else 0

    def end(step: int) -> int:
        """The first position that is not of the steps up to `step`."""
        stage = stages.at(of_run, step)
        batches = 1 + stage.batch_of(step)
        blocks = stage.builder.blocks_given(batches * stage.run.data.blocks_per_batch)
        return blocks[number] * stage.run.data.block_size

    steps = range(run.training.num_steps)
    found = bisect.bisect_right(steps, position, key=end)
    if position < 0 or found == len(steps):
        raise ReplayError(
            f"data position {position} of source {names[number]}: the run reads 0 to "
            f"{end(steps[-1]) - 1}."
        )
    return found


def _taken(
    current: Any,
    begin: int,
    end: int,
    of_run: tuple[stages.Stage, ...],
) -> dict[str, float | None]:
    """Figures of the last of the steps from `begin` to `end`."""
    figures: Any = {}
    shown = progress.Progress("steps", end - begin)
    for stage in of_run[stages.at(of_run, begin).number :]:
        if stage.first_step >= end:
            break
        if stage.first_step > begin:
            current, _ = stages.carry_over(current, stage)
        train_step = stage.step.program
        first, last = max(begin, stage.first_step), min(end, stage.end)
        with stage.feed(first) as feed:
            for _ in range(first, last):
                batch, _ = next(feed)
                with jax.set_mesh(stage.mesh):
                    current, figures = train_step(current, batch)
                shown.step()
    found = {name: float(value) for name, value in jax.device_get(figures).items()}
    return {name: value if math.isfinite(value) else None for name, value in found.items()}


def _examples(stage: stages.Stage, step: int) -> list[dict[str, Any]]:
    """What the batch of a step is made of."""
    size = stage.run.data.blocks_per_batch
    first = stage.batch_of(step) * size
    found = []
    for block in range(first, first + size):
        chosen = stage.builder.choose(block)
        split = chosen.split
        found.append(
            {
                "split": split.name,
                "regime": chosen.regime,
                "ids": chosen.ids.tolist(),
                "videos": [split.videos[number] for number in split.video[chosen.ids]],
                "texts": list(split.texts(chosen.ids)),
            }
        )
    return found


def _logged(workdir: storage.Path, step: int) -> dict[str, float | None] | None:
    path = workdir / metric_writers.METRICS_FILE
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        fields = json.loads(line)
        if fields.pop("step") == step and "loss" in fields:
            return fields
    return None
