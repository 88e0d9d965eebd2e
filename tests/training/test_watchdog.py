"""A main thread that comes no further ends the process, and who holds up a run is named."""

import collections
import dataclasses
import json
import pathlib
import threading

import jax
import pytest

from tests.training.peers_in_memory import Store
from videobert_jax.files import stopping
from videobert_jax.training import processes, wall_time
from videobert_jax.training import watchdog as watchdog_module
from videobert_jax.training.watchdog import Place, Watchdog, suspects


class Clock(wall_time.WallTime):
    """Says what it is told; time passes where it is said to."""

    def __init__(self, kind: str = wall_time.STEP):
        super().__init__()
        self.kind, self.time, self.since = kind, 1000.0, 1000.0

    def now(self) -> float:
        return self.time

    def now_on(self) -> tuple[str, float]:
        return self.kind, self.time - self.since


def watchdog(clock: Clock, group=None, **settings) -> Watchdog:
    return Watchdog(pathlib.Path("nowhere"), clock, 1800.0, group, now=clock.now, **settings)


@pytest.mark.parametrize(
    ("kind", "well", "hung"),
    [
        (wall_time.STEP, 1799, 1801),
        (wall_time.DATA, 1799, 1801),
        (wall_time.OTHER, 1799, 1801),
        (wall_time.COMPILE, 3599, 3601),
        (wall_time.CHECKPOINT, 3599, 3601),
        (wall_time.EVALUATION, 3599, 3601),
        (wall_time.START, 1e9, None),
        (wall_time.RESTORE, 1e9, None),
    ],
)
def test_what_takes_long_has_long(kind: str, well: float, hung: float | None):
    clock = Clock(kind)
    watch = watchdog(clock)
    clock.time += well
    assert watch.trouble() is None
    if hung is not None:
        clock.time += hung - well
        said = watch.trouble()
        assert said is not None and f"at step 0 in '{kind}' for {hung:.0f} s" in said


def test_points_and_the_clock_keep_it_away():
    clock = Clock(wall_time.EVALUATION)
    watch = watchdog(clock)
    for _ in range(5):  # an evaluation of five hours, with a batch in each
        clock.time += 3500
        assert watch.trouble() is None
        watch.beat(7)
    clock.kind = wall_time.STEP
    clock.time += 1700
    clock.since = clock.time  # a step is dispatched, and the next batch waited for
    clock.time += 1700
    assert watch.trouble() is None
    clock.time += 200
    assert "at step 7 in 'step' for 1900 s, 1800 s allowed" in (watch.trouble() or "")


def place(step: int, kind: str = wall_time.STEP, host: str = "a", beat: int = 0) -> Place:
    return Place(step, kind, 70.0, host, beat)


@pytest.mark.parametrize(
    ("places", "silent", "said"),
    [
        ({0: place(5)}, {}, "The stacks say where."),
        ({0: place(5), 1: place(4, host="b"), 2: place(5)}, {}, "others: process 1 (b), at step 4"),
        (
            {0: place(5), 1: place(5), 2: place(5, wall_time.DATA, "c")},
            {},
            "others: process 2 (c), at step 5 in 'data' for 70 s.",
        ),
        ({0: place(5), 1: place(5)}, {}, "All processes are at the same place"),
        (  # the others wait until all have compiled the step of a stage
            {n: place(5, wall_time.DATA if n == 1 else wall_time.COMPILE) for n in range(4)},
            {},
            "others: process 1 (a), at step 5 in 'data' for 70 s.",
        ),
        (
            {0: place(5, wall_time.DATA), 1: place(5, wall_time.DATA)},
            {},
            "All processes are at the same place",
        ),
        (
            {0: place(5), 1: place(4), 2: place(5, host="c")},
            {2: 65.0},
            "Silent: process 2 (c), last heard at step 5 in 'step' for 70 s, 65 s ago.",
        ),
    ],
)
def test_who_holds_up_the_run_is_named(places: dict, silent: dict, said: str):
    assert said in suspects(places, silent)


def test_all_that_a_clock_may_be_on_has_its_turn():
    assert sorted(watchdog_module._TURNS) == sorted(wall_time.KINDS)


def test_jax_misses_a_process_after_the_watchdog():
    """It aborts the others, which then say nothing of their own. A heartbeat comes every half of
    the time, so one that is frozen just before its next is missed after the other half."""
    notices = watchdog_module._SILENT_SECONDS + watchdog_module._ASK_SECONDS
    leaves = watchdog_module._TELL_SECONDS + 2 * watchdog_module._LEAVE_SECONDS
    assert notices + leaves < processes.HEARTBEAT_SECONDS / 2


def test_a_silent_process_is_noticed_before_the_step_is_too_long():
    """Two of three go on talking; none of them steps."""
    clock, store = Clock(), Store(3)
    watch = watchdog(clock, store.member(0))
    said = dataclasses.asdict(place(0, host="b"))

    def hear(process: int) -> None:
        said["beat"] += 1
        watch._hear({process: json.dumps(said)})

    hear(1), hear(2)
    for _ in range(6):
        clock.time += 10
        watch._answered = clock.time
        hear(1)
        assert watch.trouble() is None
    clock.time += 1
    assert "Silent: process 2 (b), last heard" in (watch.trouble() or "")
    clock.since = clock.time  # this process steps, so what 2 does not say is no matter
    assert watch.trouble() is None


def test_a_main_thread_that_waits_is_shown_and_the_process_left(tmp_path: pathlib.Path, capfd):
    codes: collections.deque[int] = collections.deque()
    gone = threading.Event()

    def leave(code: int) -> None:
        codes.append(code)
        gone.set()

    def waits_for_what_never_comes() -> None:
        gone.wait(20)

    clock = wall_time.WallTime()
    with (
        Watchdog(tmp_path, clock, 0.3, leave=leave, poll_seconds=0.05) as watch,
        clock.spent_on(wall_time.STEP),
    ):
        watch.beat(12)
        waits_for_what_never_comes()
    assert list(codes) == [stopping.HUNG] and stopping.HUNG == 76
    [file] = (tmp_path / "hangs").iterdir()
    for text in (file.read_text(), capfd.readouterr().err):
        assert "at step 12 in 'step' for 0 s" in text
        assert "in waits_for_what_never_comes" in text


def test_processes_leave_together_and_the_frozen_one_is_named(tmp_path: pathlib.Path, capfd):
    """Process 1 is stuck with its data; process 2 talked once and never again."""
    store, left, gone = Store(3), [], threading.Event()

    def leave(number: int) -> None:
        left.append(number)
        if len(left) == 2:
            gone.set()

    clocks = wall_time.WallTime(), wall_time.WallTime()
    settings = {"poll_seconds": 0.05}
    store.member(2).tell(
        "place", '{"step": 3, "kind": "step", "seconds": 0.0, "host": "c", "beat": 1}'
    )
    with (
        clocks[0].spent_on(wall_time.STEP),
        clocks[1].spent_on(wall_time.DATA),
        Watchdog(
            tmp_path, clocks[0], 1.0, store.member(0), leave=lambda _: leave(0), **settings
        ) as first,
        Watchdog(
            tmp_path, clocks[1], 1.2, store.member(1), leave=lambda _: leave(1), **settings
        ) as second,
    ):
        first.beat(4), second.beat(3)
        assert gone.wait(20)
    assert left == [1, 0]  # process 0 serves the others, and waits for those that are alive
    said = capfd.readouterr().err
    assert "process 0" in said and "process 1" in said
    assert "Silent: process 2 (c), last heard at step 3" in said


@pytest.mark.parametrize(
    ("told", "error", "ends"),
    [
        ("hung", jax.errors.JaxRuntimeError("UNKNOWN: Connection closed by peer"), True),
        ("place", jax.errors.JaxRuntimeError("UNKNOWN: Connection closed by peer"), False),
        ("hung", ValueError("of its own"), False),
    ],
)
def test_a_collective_that_the_others_left_ends_this_process_as_it_did_them(
    told: str, error: Exception, ends: bool, tmp_path: pathlib.Path, capfd
):
    """The others saw that process 2 is silent, said so, and were gone before this one did."""
    store, left = Store(3), list[int]()
    for process in (1, 2):
        store.member(process).tell(told, "now")
    clock = wall_time.WallTime()
    group = store.member(0)
    with (
        pytest.raises(type(error)),
        Watchdog(tmp_path, clock, 1800.0, group, leave=left.append) as watch,
        clock.spent_on(wall_time.STEP),
    ):
        watch.beat(4)
        raise error
    assert left == ([stopping.HUNG] if ends else [])
    said = capfd.readouterr().err
    assert ("process 0" in said and "ends with the others" in said and str(error) in said) == ends
    assert (tmp_path / "hangs").exists() == ends


def test_zero_waits_for_ever(tmp_path: pathlib.Path):
    def never(code: int) -> None:
        raise AssertionError("it left")

    before = threading.active_count()
    with Watchdog(tmp_path, wall_time.WallTime(), 0.0, leave=never):
        assert threading.active_count() == before
