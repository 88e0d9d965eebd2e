"""Going back to a verified checkpoint when updates are skipped again and again.

    WORKDIR/rollbacks.json   every time that it happened: from which step to which, why, which
                             batches (data positions) are left out since, which steps were deleted

What was wrong is either in the batches, which are then never taken again, or in the parameters,
which are then those of before. Where the run comes no further than the time before, it goes one
checkpoint further back. The file is written before anything is deleted, and once more when that is
done, so that a start after a kill ends what was begun.
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from videobert_jax.data.left_out import LeftOut
from videobert_jax.files import atomic, json_values, storage, versions
from videobert_jax.training import checkpoint_folder, processes

ROLLBACKS_FILE = "rollbacks.json"
FORMAT = 1  # files without one are older than the field


class DivergenceError(ValueError):
    """A run whose updates are no longer finite, or no longer of the size that they had.

    first_step: steps taken before the first update that was skipped; step: taken in all.
    """

    def __init__(self, message: str, first_step: int, step: int) -> None:
        super().__init__(message)
        self.first_step, self.step = first_step, step


class RollbackError(ValueError):
    """A file of rollbacks that is not what a run writes."""


@dataclasses.dataclass(frozen=True)
class Rollback:
    """Once that a run went back.

    from_step, to_step: steps taken before and after. first_step: of the first update that was
    skipped. left_out: by stage boundaries. positions: of each source, [first, end) of what is left
    out, a pair for each of left_out. deleted_steps: checkpoints newer than to_step.
    """

    from_step: int
    first_step: int
    to_step: int
    left_out: tuple[LeftOut, ...]
    positions: tuple[dict[str, list[int]], ...]
    deleted_steps: tuple[int, ...]
    reason: str
    time: str
    finished: bool

    def __str__(self) -> str:
        positions = "; ".join(
            f"{name} {first} to {end}"
            for part in self.positions
            for name, (first, end) in part.items()
            if end > first
        )
        return (
            f"The run goes back to the checkpoint of step {self.to_step} and leaves out the "
            f"{sum(part.batches for part in self.left_out)} batches from step {self.first_step} on "
            f"(data positions: {positions}); {ROLLBACKS_FILE} says so."
        )


def read(workdir: storage.Path) -> tuple[Rollback, ...]:
    """All rollbacks of a run, oldest first; one that was not finished is finished by the first
    process. Raises RollbackError."""
    if jax.process_index() == 0:
        found = recorded(workdir)
        if found and not found[-1].finished:
            _finish(workdir, found)
    processes.wait_for_all("rollbacks are finished")
    return recorded(workdir)


def left_out(rollbacks: Sequence[Rollback]) -> tuple[LeftOut, ...]:
    """What all rollbacks together leave out, oldest first, at the steps of when they were."""
    return tuple(part for each in rollbacks for part in each.left_out)


def roll_back(
    workdir: storage.Path,
    error: DivergenceError,
    parts: Sequence[tuple[LeftOut, Mapping[str, list[int]]]],
    maximum: int,
) -> Rollback:
    """Deletes the checkpoints behind the one to go back to, and records it; in all processes.

    parts: what is left out, with its data positions. Raises `error` where there is no checkpoint to
    go back to, or where the run went back `maximum` times already.
    """
    before = read(workdir)  # which waits for the last manifest, too: the first process wrote it
    steps = checkpoint_folder.manifest_steps(workdir)
    to_step = _target(steps, error, before)
    if to_step is None or len(before) >= maximum:
        why = (
            f"It went back {len(before)} times already (training.max_rollbacks={maximum})."
            if len(before) >= maximum
            else "There is no checkpoint from before to go back to."
        )
        raise DivergenceError(f"{error} {why}", error.first_step, error.step) from error
    made = Rollback(
        from_step=error.step,
        first_step=error.first_step,
        to_step=to_step,
        left_out=tuple(part for part, _ in parts),
        positions=tuple(dict(positions) for _, positions in parts),
        deleted_steps=tuple(step for step in steps if step > to_step),
        reason=str(error),
        time=time.strftime("%FT%TZ", time.gmtime()),
        finished=False,
    )
    processes.wait_for_all("the checkpoints are known")  # before one is deleted
    if jax.process_index() == 0:
        _write(workdir, (*before, made))
        _finish(workdir, (*before, made))
    processes.wait_for_all("the checkpoints are deleted")
    return dataclasses.replace(made, finished=True)


def _target(steps: Sequence[int], error: DivergenceError, before: Sequence[Rollback]) -> int | None:
    """The newest step from before the first skipped update, or from before the last target."""
    limit = error.first_step
    if before and error.first_step <= before[-1].from_step:
        limit = min(limit, before[-1].to_step - 1)
    return max((step for step in steps if step <= limit), default=None)


def _finish(workdir: storage.Path, rollbacks: Sequence[Rollback]) -> None:
    last = rollbacks[-1]
    checkpoint_folder.delete_steps(workdir, last.deleted_steps)
    _write(workdir, (*rollbacks[:-1], dataclasses.replace(last, finished=True)))


def recorded(workdir: storage.Path) -> tuple[Rollback, ...]:
    """All rollbacks of a run, oldest first, as they stand. Raises RollbackError."""
    path = workdir / ROLLBACKS_FILE
    if not path.is_file():
        return ()
    try:
        found = json_values.parse(path.read_text())
        if remedy := versions.newer(found.get("format", FORMAT), FORMAT):
            raise RollbackError(f"{path}: {remedy}, or use another --workdir.")
        return tuple(_parsed(fields) for fields in found["rollbacks"])
    except RollbackError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RollbackError(
            f"{path}: not what a run writes ({error!r}); put the run's own file back. Without it "
            "the batches that were left out would be taken again."
        ) from error


def _write(workdir: storage.Path, rollbacks: Sequence[Rollback]) -> None:
    fields = [dataclasses.asdict(each) for each in rollbacks]
    atomic.write_json(workdir / ROLLBACKS_FILE, {"format": FORMAT, "rollbacks": fields})


def _parsed(fields: Mapping[str, Any]) -> Rollback:
    parts = tuple(LeftOut(*part) for part in fields["left_out"])
    lists = {name: tuple(fields[name]) for name in ("positions", "deleted_steps")}
    return Rollback(**{**fields, **lists, "left_out": parts})
