"""Batches that a run went back for and never takes again (`training.rollback`)."""

from collections.abc import Sequence
from typing import NamedTuple


class LeftOut(NamedTuple):
    """step: of the run, before which so many further batches of its stage are left out."""

    step: int
    batches: int


def of_stage(left_out: Sequence[LeftOut], first_step: int, end: int) -> tuple[LeftOut, ...]:
    """Those of the stage of these steps, oldest first, each at the step that it is before by now:
    what was left out later, at an earlier step, brought all batches behind so much nearer."""
    found: list[LeftOut] = []
    for new in left_out:
        if first_step <= new.step < end:
            found = [
                each._replace(step=max(new.step, each.step - new.batches))
                if each.step > new.step
                else each
                for each in found
            ]
            found.append(new)
    return tuple(found)


def batch_of(left_out: Sequence[LeftOut], first_step: int, step: int) -> int:
    """The number, from 0 in its stage, of the batch that a step of the run takes."""
    return step - first_step + sum(each.batches for each in left_out if each.step <= step)


def given_before(left_out: Sequence[LeftOut], first_step: int, step: int) -> int:
    """How many batches the stage has given, those left out included, when `step` is to come."""
    return step - first_step + sum(each.batches for each in left_out if each.step < step)


def stretches(
    left_out: Sequence[LeftOut], first_step: int, step: int, end: int
) -> tuple[range, ...]:
    """Numbers of the batches of the steps from `step` to before `end`, in runs without a gap."""
    cuts = sorted({each.step for each in left_out if step < each.step < end})
    steps = [step, *cuts, end]
    found = []
    for begin, stop in zip(steps, steps[1:], strict=False):
        first = batch_of(left_out, first_step, begin)
        found.append(range(first, first + stop - begin))
    return tuple(found)
