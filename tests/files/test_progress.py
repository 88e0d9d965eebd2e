import pytest

from videobert_jax.files import progress


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (20, ["3/20 videos, 0.5 a second, 34 s left", "6/20 videos, 0.5 a second, 28 s left"]),
        (None, ["3 videos, 0.5 a second", "6 videos, 0.5 a second"]),
    ],
)
def test_a_line_every_few_seconds_says_how_far_it_is(monkeypatch, capsys, total, expected):
    clock = iter(range(100, 200, 2))  # two seconds a step
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    shown = progress.Progress("videos", total)
    for _ in range(7):
        shown.step()
    assert capsys.readouterr().err.splitlines() == expected
