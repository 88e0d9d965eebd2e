"""Every moment of a run is one thing's."""

import pytest

from videobert_jax.training import wall_time


@pytest.mark.parametrize(
    "seconds, text", [(0.0, "0 s"), (59.6, "1 min"), (3725.0, "1 h 2 min"), (2e5, "2 d 7 h")]
)
def test_durations_are_words(seconds: float, text: str):
    assert wall_time.duration(seconds) == text


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be moved on."""
    moment = [100.0]
    monkeypatch.setattr(wall_time.time, "monotonic", lambda: moment[0])
    return moment


def test_every_second_is_one_things_and_none_is_lost(now: list[float]):
    clock = wall_time.WallTime()
    now[0] += 1  # nobody's
    with clock.spent_on(wall_time.DATA):
        now[0] += 2
        with clock.spent_on(wall_time.CHECKPOINT):  # the data ended, and steps are saved
            now[0] += 4
        now[0] += 8
    first = clock.interval()
    assert {kind: seconds for kind, seconds in first.items() if seconds} == {
        "other": 1,
        "data": 10,
        "checkpoint": 4,
    }
    with pytest.raises(KeyError), clock.spent_on(wall_time.STEP):
        now[0] += 16
        raise KeyError
    now[0] += 1
    second = clock.interval()
    assert second["step"] == 16 and second["other"] == 1 and second["data"] == 0
    assert sum(first.values()) + sum(second.values()) == now[0] - 100


def test_the_last_line_says_shares_of_the_whole(now: list[float]):
    clock = wall_time.WallTime()
    with clock.spent_on(wall_time.STEP):
        now[0] += 150
    with clock.spent_on(wall_time.DATA):
        now[0] += 45
    now[0] += 5
    text = str(clock)
    assert text.startswith("75.0 % step, 22.5 % data, 0.0 % ")
    assert text.endswith(", 2.5 % other of 3 min 20 s")
