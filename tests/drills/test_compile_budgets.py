"""What the drill of compile budgets says without a compiler."""

import pytest

from tests.drills import compile_budgets
from videobert_jax.sharding import mesh as meshes
from videobert_jax.training import abstract_step, topologies


def test_what_is_over_a_budget_is_said():
    within = {
        "needed_bytes": 10,
        "available_bytes": 10,
        "least_bytes": {"gradients": 1e9},
        "sent_bytes": 1.19e9,
        "aliased_bytes": 5,
        "state_bytes": 5,
    }
    assert compile_budgets.problems(within) == []
    over = {"needed_bytes": 11, "sent_bytes": 1.3e9, "aliased_bytes": 4}
    said = [compile_budgets.problems({**within, name: size}) for name, size in over.items()]
    assert said == [
        ["more memory than a device has"],
        ["sends 1.30 times the least"],
        ["the state is not updated in place"],
    ]


def test_shards_take_every_target_once():
    shards = [compile_budgets.shard_of(f"{number}/4") for number in (1, 2, 3, 4)]
    assert sorted(target.name for shard in shards for target in shard) == sorted(
        target.name for target in compile_budgets.TARGETS
    )
    with pytest.raises(ValueError, match="5/4"):
        compile_budgets.shard_of("5/4")


@pytest.mark.parametrize("target", compile_budgets.TARGETS, ids=lambda target: target.name)
def test_a_target_is_a_config_that_its_mesh_divides(target):
    run = compile_budgets.run_of(target)
    assert topologies.chip(target.topology)
    mesh = abstract_step.abstract_mesh(run.mesh, target.place.num_devices)
    meshes.require_divisible_dimensions(run.model.split_dimensions, mesh)
    meshes.require_divisible_blocks(
        run.data.blocks_per_batch, run.training.accumulation_steps, mesh
    )
