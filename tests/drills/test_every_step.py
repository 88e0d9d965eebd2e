"""The drill of a run stopped after every step, two of them; and that it bites."""

import pytest

from tests.drills import every_step

pytestmark = pytest.mark.long
NUM_STEPS = 6


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory, on_one_device: None) -> every_step.Drill:
    config = every_step.get_config()
    config.stages, config.training.num_steps = [], NUM_STEPS
    config.optimizer.ema_decay = 0.9
    return every_step.Drill(tmp_path_factory.mktemp("every_step"), config)


def test_a_run_goes_on_from_a_step_with_the_bits_of_one_never_stopped(drill: every_step.Drill):
    cases = [drill.case("waited-for", 2), drill.case("background", 3)]
    assert [case["wrong"] for case in cases] == [[], []]
    assert [case["reported"] for case in cases] == [2, 5]  # three steps behind the save's, one late


def test_other_batches_are_noticed(drill: every_step.Drill, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(drill, "positioned", False)
    wrong = drill.case("waited-for", 3)["wrong"]
    assert wrong == ["other parameters, optimiser or average", "other figures"]
