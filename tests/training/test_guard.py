"""Which updates are let through, against a plain statement, an update at a time."""

import statistics

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videobert_jax.training import guard

FACTOR = 5.0
BAD = {"nan": np.nan, "infinity": np.inf, "1e30": 1e30, "a spike": 60.0}


class Stated:
    """Lists in place of arrays."""

    def __init__(self) -> None:
        self.taken: list[list[float]] = []

    def __call__(self, figures: list[float]) -> bool:
        last = self.taken[-guard.WINDOW :]
        good = all(np.isfinite(figures))
        if len(last) == guard.WINDOW:
            for value, column in zip(figures, zip(*last, strict=True), strict=True):
                median = statistics.median(column)
                good = good and not (median > 0 and value > FACTOR * median)
        if good:
            self.taken.append(figures)
        return good


@jax.jit
def step(window: jax.Array, figures: jax.Array) -> tuple[jax.Array, jax.Array]:
    taken = guard.allowed(window, figures, FACTOR)
    return guard.after(window, figures, taken), taken


@pytest.mark.parametrize("kind", BAD)
def test_updates_are_let_through_as_stated(kind: str):
    random, stated, window = np.random.default_rng(0), Stated(), guard.empty()
    let_through = []
    for number in range(400):
        figures = random.uniform(1, 4, size=3)
        if number % 7 == 3 and number > 20:
            figures[number % 3] = BAD[kind]
        window, taken = step(window, jnp.asarray(figures, jnp.float32))
        assert bool(taken) == stated([float(value) for value in np.float32(figures)]), number
        let_through.append(bool(taken))
    assert not all(let_through[20:])
    np.testing.assert_array_equal(window, np.float32(stated.taken[-guard.WINDOW :]).T)


def test_bad_steps_never_become_what_is_normal():
    window = guard.empty()
    for _ in range(guard.WINDOW):
        window, _ = step(window, jnp.ones(3))
    for _ in range(3 * guard.WINDOW):
        window, taken = step(window, jnp.full(3, 10.0))
        assert not taken
    np.testing.assert_array_equal(window, np.ones((3, guard.WINDOW)))


def test_a_figure_that_is_mostly_zero_has_no_size_to_go_by():
    window = guard.empty()
    for _ in range(guard.WINDOW):
        window, _ = step(window, jnp.zeros(3))
    assert step(window, jnp.ones(3))[1]


def test_without_a_window_figures_need_only_be_finite():
    assert guard.allowed(None, jnp.full(3, 1e30), FACTOR)
    assert not guard.allowed(None, jnp.array([1.0, jnp.nan, 1.0]), FACTOR)
    assert guard.after(None, jnp.ones(3), jnp.bool_(True)) is None


def test_an_update_is_measured_by_its_learning_rate():
    found = guard.figures_of(*map(jnp.float32, (1.0, 2.0, 3e-4, 1e-4)))
    np.testing.assert_allclose(found, [1.0, 2.0, 3.0], rtol=1e-6)
    assert np.isfinite(guard.figures_of(*map(jnp.float32, (1.0, 2.0, 0.0, 0.0)))).all()
