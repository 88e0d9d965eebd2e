"""An exact run by two processes is the run of one, bit for bit, and goes on as it."""

import pathlib

import pytest

from tests.drills import test_topologies, topologies

BY_TWO = topologies.Topology(2, 2, 2, 2)


@pytest.mark.timeout(1800)  # each topology is compiled
def test_two_processes_have_the_bits_of_one(tmp_path: pathlib.Path):
    settings = {**test_topologies.TINY, "topologies": (topologies.ONE, BY_TWO)}
    drill = topologies.Drill(tmp_path, 0, **settings)
    whole = drill.whole(BY_TWO)
    assert whole["passed"], whole
    for number in range(2):  # there, and back
        restored = drill.restore(number)
        assert restored["passed"], restored
