"""The drill of many blocks and saves, a few of them; and that it bites."""

import functools
import pathlib

import pytest

from tests.drills import soak

READ, SAVED = 320, 20

_few_saves = functools.partial(soak.save, before=0)


@pytest.mark.parametrize(
    "half, count", [pytest.param(soak.read, READ, marks=pytest.mark.long), (_few_saves, SAVED)]
)
def test_open_files_and_threads_stay_what_they_were(tmp_path: pathlib.Path, half, count: int):
    held = soak.Held(False)
    found = soak.measured(half(tmp_path, count, 0, held), held)
    samples = [soak.Sample(*sample) for sample in found["samples"]]
    assert len(samples) == 10
    assert samples[-1].descriptors <= samples[0].descriptors
    # beside other tests pools may still grow by a thread or two; one a save would be many more
    assert samples[-1].threads < samples[0].threads + 4 < samples[0].threads + count / 4


@pytest.mark.long
def test_what_is_never_let_go_is_noticed(tmp_path: pathlib.Path):
    held = soak.Held(True)
    found = soak.measured(soak.read(tmp_path, READ, 0, held), held)
    assert found["grew"] == ["rss_bytes", "descriptors", "threads"]
    assert not found["passed"]
    held.release()
