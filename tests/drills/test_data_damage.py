"""Some cases of damage to a dataset; and the guard off, under which the same cases go wrong."""

import pytest

from tests.drills import data_damage


@pytest.mark.parametrize("guarded", [True, False])
def test_no_example_is_another_than_was_written(guarded, tmp_path):
    drill = data_damage.Drill(tmp_path, seed=0, guarded=guarded)
    outcomes = [drill.case(number)[0] for number in range(40)]
    if guarded:
        assert {"equal", "lost", "refused"} == set(outcomes)
    else:
        assert "wrong" in outcomes
