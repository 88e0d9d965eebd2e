"""Batches that are left out, against a walk through the steps one at a time."""

import numpy as np

from videobert_jax.data import left_out
from videobert_jax.data.left_out import LeftOut

FIRST, END = 10, 40


def walked(parts: list[LeftOut]) -> list[int]:
    """The batch of each step of the stage."""
    batch, found = 0, []
    for step in range(FIRST, END):
        batch += sum(part.batches for part in parts if part.step == step)
        found.append(batch)
        batch += 1
    return found


def test_every_step_takes_the_batch_that_a_walk_finds():
    random = np.random.default_rng(0)
    for _ in range(50):
        steps = random.integers(FIRST, END, size=random.integers(0, 5))
        parts = [LeftOut(int(step), int(random.integers(1, 6))) for step in steps]
        expected = walked(parts)
        found = [left_out.batch_of(parts, FIRST, step) for step in range(FIRST, END)]
        assert found == expected
        begin = int(random.integers(FIRST, END))
        ranges = left_out.stretches(parts, FIRST, begin, END)
        assert [batch for stretch in ranges for batch in stretch] == expected[begin - FIRST :]
        # What is left out before a step is given when that step has been taken.
        given = [left_out.given_before(parts, FIRST, step) for step in range(FIRST + 1, END + 1)]
        assert given == [batch + 1 for batch in expected]


def test_a_step_that_is_yet_to_come_has_given_nothing_of_what_is_left_out_before_it():
    parts = [LeftOut(12, 3)]
    assert left_out.given_before(parts, FIRST, 12) == 2
    assert left_out.batch_of(parts, FIRST, 12) == 5
    assert left_out.stretches(parts, FIRST, 12, 12) == (range(5, 5),)


def test_a_batch_that_was_left_out_never_comes_again():
    """By a list of the batches that are left, out of which each time those that were taken from
    some step on are struck, whatever was struck before, and of steps before or behind."""
    random = np.random.default_rng(0)
    for _ in range(50):
        left, parts = list(range(200)), []
        for _ in range(random.integers(1, 6)):
            step, batches = int(random.integers(FIRST, END)), int(random.integers(1, 8))
            parts.append(LeftOut(step, batches))
            del left[step - FIRST : step - FIRST + batches]
        own = left_out.of_stage([LeftOut(3, 9), *parts, LeftOut(END, 4)], FIRST, END)
        found = [left_out.batch_of(own, FIRST, step) for step in range(FIRST, END)]
        assert found == left[: END - FIRST], parts
