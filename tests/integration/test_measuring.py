"""What a run of the real loop says of itself: its time, its speeds, profiles; and that its steps
wait for no device."""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import pytest

from tests import transfers
from tests.integration import runs
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.training import abstract_step, reporting, steps, wall_time

pytestmark = pytest.mark.usefixtures("on_one_device")

# One objective over the towers is enough here.
SETTINGS: dict[str, Any] = {
    "objectives__masked_language__weight": 0.0,
    "training__eval_every": 4,
}


class Counting:
    """An evaluator that says at which step it was."""

    name = "counting"

    def __call__(self, bundle: ModelBundle) -> dict[str, float]:
        return {"step": float(bundle.step)}


@pytest.fixture(scope="module")
def explicit_transfers() -> Iterator[list[tuple[int, ...]]]:
    """Shapes of arrays that were brought to the host under the loop's guard."""
    with transfers.guarded() as shapes:
        yield shapes


@pytest.fixture(scope="module")
def measured(
    explicit_transfers: list, tiny_dataset: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """Workdir of a run that was guarded and profiled, with what it printed in output.txt."""
    workdir = tmp_path_factory.mktemp("runs") / "measured"
    shown: list[str] = []
    traced, train_step = [], steps.train_step
    abstract_step.made.cache_clear()  # another module may have made this step

    def traced_step(*arguments: Any, **settings: Any) -> Any:
        traced.append(arguments)
        return train_step(*arguments, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reporting.metrics, "show", shown.append)
        patch.setattr(steps, "train_step", traced_step)
        runs.train(
            workdir,
            tiny_dataset,
            evaluators=[Counting()],
            training__profile_first_step=5,
            training__profile_steps=2,
            training__profile_memory_step=6,
            **SETTINGS,
        )
    (workdir / "output.txt").write_text("\n".join(shown))
    assert len(traced) == 1  # to count its products costs no second trace
    return workdir


def test_steps_bring_nothing_to_the_host_but_the_figures_of_the_one_before(
    measured: pathlib.Path, explicit_transfers: list[tuple[int, ...]]
):
    with pytest.raises(RuntimeError, match="device-to-host"), jax.transfer_guard("disallow"):
        float(jax.device_put(1.0))  # what is forbidden is seen
    assert explicit_transfers and set(explicit_transfers) == {()}


def lines(workdir: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_time_is_split_and_adds_up(measured: pathlib.Path):
    steps_taken = [line for line in lines(measured) if "loss" in line]
    spent = {kind: sum(line[f"seconds_{kind}"] for line in steps_taken) for kind in wall_time.KINDS}
    assert all(spent[kind] > 0 for kind in wall_time.KINDS)
    assert spent["other"] < 0.2 * sum(spent.values())
    first, *others = steps_taken
    assert first["seconds_compile"] > sum(line["seconds_compile"] for line in others)
    assert first["seconds_start"] > 0 and all(line["seconds_start"] == 0 for line in others)
    (said,) = [
        line for line in (measured / "output.txt").read_text().splitlines() if "time of" in line
    ]
    assert all(f" % {kind}" in said for kind in wall_time.KINDS)


def test_speeds_and_utilisation_are_reported(measured: pathlib.Path):
    for line in lines(measured):
        if "loss" in line:
            assert line["mfu"] is None  # nobody's data sheet knows this CPU
            assert 0 < line["matmul_fraction"] < 1
            assert line["model_flops"] > line["tokens"] > 0
    evaluated = [line for line in lines(measured) if "counting/step" in line]
    assert [line["counting/step"] for line in evaluated] == [4, 8]


def test_profiles_of_steps_and_of_memory_are_written(measured: pathlib.Path):
    traces = list((measured / "profile").rglob("*.xplane.pb"))
    assert len(traces) == 1 and traces[0].stat().st_size > 0
    memory = measured / "profile" / "memory_step_6_process_0.prof"
    assert memory.read_bytes()[:2] == b"\x1f\x8b"  # gzip, as pprof reads it
