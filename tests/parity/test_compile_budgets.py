"""Budgets of small steps as the TPU compiler schedules them; `tests.drills.compile_budgets` has
those of real ones."""

import pytest

from tests.drills import compile_budgets

pytest.importorskip("libtpu", reason='the TPU compiler: pip install "videobert-jax[tpu-compiler]"')


@pytest.mark.parametrize(
    "target", compile_budgets.SMALL_TARGETS, ids=("data", "fsdp", "two_slices")
)
def test_a_step_is_within_its_budgets(target: compile_budgets.Target):
    found = compile_budgets.measure(target)
    assert found["problems"] == []
    assert found["sent_bytes"] > sum(found["least_bytes"].values()) / 3  # it is counted
    axes = {axis for axis, size in found["mesh"].items() if size > 1}
    along = {"over fsdp", "between slices"} if target.slices > 1 else {f"over {','.join(axes)}"}
    assert {kind.split(" ", 1)[1] for kind in found["sent_by_kind"]} == along
