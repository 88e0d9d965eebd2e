"""Every second since a run's first start is one thing's, over kills, pauses and steps lost."""

import contextlib
import json
import pathlib
import random
import time
import types
from collections.abc import Iterator

import pytest

from videobert_jax.cli import summarize
from videobert_jax.files import atomic
from videobert_jax.training import goodput, lease, run_record, wall_time


class World:
    """Time that passes only when it is told to, and what it was truly spent on."""

    def __init__(self, workdir: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.workdir, self.moment = workdir, 1_000_000.0
        self.first = self.moment
        self.running: goodput.Goodput | None = None
        monkeypatch.setattr(wall_time.time, "monotonic", lambda: self.moment - 999_000)
        monkeypatch.setattr(wall_time.time, "time", lambda: self.moment)
        # Nothing records by the clock of this machine; `passes` does, by the world's.
        monkeypatch.setattr(goodput.threading.Thread, "start", lambda thread: None)

    def start(self, seconds: float, restored: int) -> goodput.Goodput:
        clock = wall_time.WallTime()
        times = goodput.Goodput(clock, lambda: self.moment)
        self.running, self.recorded = times, self.moment
        with clock.spent_on(wall_time.START):
            self.moment += seconds
            times.open(lease.take(self.workdir))
            times.goes_on_from(restored)
            self.recorded = self.moment
        return times

    def passes(self, kind: str, seconds: float) -> None:
        """So many seconds of a kind, recorded every ten as the thread of a run does it."""
        assert self.running is not None
        with self.running.clock.spent_on(kind):
            end = self.moment + seconds
            while self.recorded + goodput.RECORD_SECONDS <= end:
                self.recorded += goodput.RECORD_SECONDS
                self.moment = self.recorded
                self.running._record()
            self.moment = end

    def pause(self, seconds: float) -> None:
        self.moment += seconds

    def written(self) -> dict[str, float]:
        fields = json.loads((self.workdir / "goodput.json").read_text())
        assert sum(fields["shares"].values()) == pytest.approx(1.0, abs=0.005)
        assert fields["wall_seconds"] == pytest.approx(sum(fields["seconds"].values()))
        assert fields["goodput"] == fields["shares"]["step"]
        return {kind: round(value, 6) for kind, value in fields["seconds"].items() if value}


@pytest.fixture
def world(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def steps(world: World, times: goodput.Goodput, first: int, end: int, seconds: float) -> None:
    for step in range(first, end):
        world.passes(wall_time.STEP, seconds)
        times.taken(step + 1)


def test_a_run_that_is_killed_and_goes_on(world: World):
    times = world.start(30, restored=0)
    world.passes(wall_time.COMPILE, 60)
    steps(world, times, 0, 10, 7)
    world.passes(wall_time.CHECKPOINT, 2)
    times.saved(10)
    world.passes(wall_time.DATA, 1)
    steps(world, times, 10, 13, 7)
    # Recorded 10 s after 30, 40, ... s: the last time at 180 of 184 s. It is killed there.
    assert world.moment - world.first == 184
    world.pause(500)
    times = world.start(20, restored=10)
    world.passes(wall_time.STEP, 7)
    times.taken(11)
    times.close()
    assert world.written() == {
        "start": 50,
        "compile": 60,
        "step": 70 + 7,
        "checkpoint": 2,
        "lost": 1 + 17,  # the wait and 17 of the 21 s of steps 11 to 13; 4 were not recorded
        "unrecorded": 10,  # at most
        "down": 500 + 4 - 10,
    }
    assert "of 11 min 51 s since the first of 2 starts" in str(times)


def test_a_clean_end_leaves_nothing_unrecorded_and_loses_nothing(world: World):
    times = world.start(5, restored=0)
    steps(world, times, 0, 4, 3)
    world.passes(wall_time.CHECKPOINT, 1)
    times.saved(4)
    world.passes(wall_time.OTHER, 2)  # behind the save: no step is lost with it
    times.close()
    world.pause(100)
    world.start(6, restored=4).close()
    assert world.written() == {
        "start": 11, "step": 12, "checkpoint": 1, "other": 2, "down": 100
    }  # fmt: skip


def test_a_rollback_within_a_start_and_one_to_an_earlier_start(world: World):
    times = world.start(1, restored=0)
    steps(world, times, 0, 2, 10)
    times.saved(2)
    steps(world, times, 2, 5, 10)
    times.goes_on_from(2)  # as when updates were skipped
    steps(world, times, 2, 4, 10)
    times.saved(4)
    steps(world, times, 4, 5, 10)
    times.close()
    assert world.written() == {"start": 1, "step": 50, "lost": 30}
    times = world.start(1, restored=4)
    steps(world, times, 4, 6, 10)
    times.saved(6)
    times.close()
    assert world.written() == {"start": 2, "step": 60, "lost": 40}
    world.start(1, restored=2).close()  # the newer ones are damaged
    assert world.written() == {"start": 3, "step": 20, "lost": 80}


def test_seconds_that_two_starts_share_count_once(world: World):
    first = world.start(1, restored=0)
    world.passes(wall_time.STEP, 29)
    clock = wall_time.WallTime(start_seconds=12.0)  # the second's process began at 18
    second = goodput.Goodput(clock, lambda: world.moment)
    with clock.spent_on(wall_time.START):
        second.open(lease.take(world.workdir))
    world.running = second
    world.passes(wall_time.STEP, 10)
    first.close()  # has been followed, so it writes no more
    second.close()
    # The first recorded 20 s of steps, until 21; of the second's 12 s of start 3 are before that.
    assert world.written() == {"start": 1 + 12 - 3, "step": 20 + 10}


@pytest.mark.parametrize("seed", range(5))
def test_drawn_histories_add_up_by_an_independent_count(world: World, seed: int):
    draw = random.Random(seed)
    saved = reached = 0
    killed_without: list[float] = []
    saves = starts = compiles = 0.0
    for _ in range(12):
        begin = draw.uniform(1, 40)
        times, starts = world.start(begin, restored=saved), starts + begin
        compile_seconds = draw.uniform(0, 100)
        world.passes(wall_time.COMPILE, compile_seconds)
        compiles += compile_seconds
        reached = saved
        for _ in range(draw.randrange(30)):
            world.passes(wall_time.DATA, draw.uniform(0, 1))
            world.passes(wall_time.STEP, draw.uniform(1, 8))
            reached += 1
            times.taken(reached)
            if draw.random() < 0.2:
                save = draw.uniform(0, 3)
                world.passes(wall_time.CHECKPOINT, save)
                times.saved(reached)
                saved, saves = reached, saves + save
        if draw.random() < 0.3:
            times.saved(reached)
            times.close()
            saved = reached
        else:
            killed_without.append(world.moment - world.recorded)
        world.pause(draw.uniform(0, 300))
    world.start(3, restored=saved).close()
    fields = json.loads((world.workdir / "goodput.json").read_text())
    assert fields["wall_seconds"] == pytest.approx(world.moment - world.first, abs=1e-3)
    seconds = fields["seconds"]
    assert sum(seconds.values()) == pytest.approx(world.moment - world.first, rel=1e-9)
    unseen = sum(killed_without)
    assert starts + 3 - unseen <= seconds["start"] <= starts + 3 + 1e-6
    assert compiles - unseen <= seconds["compile"] <= compiles + 1e-6
    assert saves - unseen <= seconds["checkpoint"] <= saves + 1e-6
    assert seconds["unrecorded"] <= 10 * len(killed_without)
    assert min(seconds.values()) >= 0


def test_a_real_thread_records_and_ends(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(goodput, "RECORD_SECONDS", 0.01)
    with contextlib.closing(goodput.Goodput(wall_time.WallTime())) as times:
        times.open(lease.take(tmp_path))
        for _ in _until(lambda: goodput.read(tmp_path)["seconds"]["other"] > 0.05):
            pass
        assert not goodput.read(tmp_path)["starts"][0]["ended"]
    assert goodput.read(tmp_path)["starts"][0]["ended"]


class OutageError(Exception):
    """As a store of its own makes them: no OSError."""


@pytest.mark.parametrize("where, name", [(lease, "_last"), (atomic, "write_json")])
def test_an_outage_of_the_store_neither_ends_the_records_nor_fails_a_run_that_is_done(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    where: types.ModuleType,
    name: str,
):
    asked: list[object] = []

    def unavailable(*given: object, **_: object) -> None:
        asked.append(given)
        raise OutageError("503")

    monkeypatch.setattr(goodput, "RECORD_SECONDS", 0.01)
    times = goodput.Goodput(wall_time.WallTime())
    times.open(lease.take(tmp_path))
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(where, name, unavailable)
            begun = len(asked)
            for _ in _until(lambda begun=begun: len(asked) > begun + 2):
                pass
        before = goodput.read(tmp_path)["wall_seconds"]
        for _ in _until(lambda before=before: goodput.read(tmp_path)["wall_seconds"] > before):
            pass
    monkeypatch.setattr(where, name, unavailable)
    times.close()
    assert capsys.readouterr().out.count("goodput.json could not be written (503)") == 1


def test_a_start_that_was_followed_ends_its_records(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(goodput, "RECORD_SECONDS", 0.01)
    times = goodput.Goodput(wall_time.WallTime())
    times.open(lease.take(tmp_path))
    lease.take(tmp_path)
    for _ in _until(lambda: times._closed.is_set()):
        pass
    recorded = (tmp_path / "goodput.json").read_bytes()
    times.close()
    assert (tmp_path / "goodput.json").read_bytes() == recorded


def _until(condition) -> Iterator[None]:
    for _ in range(10_000):
        if condition():
            return
        yield
        time.sleep(0.001)
    raise AssertionError("it never came")


def test_damage_and_newer_formats_are_refused(tmp_path: pathlib.Path):
    times = goodput.Goodput(wall_time.WallTime())
    (tmp_path / "goodput.json").write_text('{"format": 2}')
    with pytest.raises(run_record.RunRecordError, match="newer one. Install that"):
        times.open(lease.take(tmp_path))
    (tmp_path / "goodput.json").write_text('{"format": 1, "starts": [{"began": 3}]}')
    with pytest.raises(run_record.RunRecordError, match="or delete it: then its times begin anew"):
        goodput.Goodput(wall_time.WallTime()).open(lease.take(tmp_path))


def test_the_summary_says_it(world: World):
    assert summarize._times(world.workdir) == []
    times = world.start(30, restored=0)
    steps(world, times, 0, 1, 90)
    times.close()
    (line,) = summarize._times(world.workdir)
    assert line.startswith("time              75.0 % step, 25.0 % start, ")
    assert line.endswith("% other of 2 min")
