import dataclasses
import itertools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videobert_jax import configuration
from videobert_jax.training import abstract_step, estimate, plan, search, topologies

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CHIP = topologies.Target("v5e:4x4")


@pytest.fixture(scope="module")
def run():
    config = configuration.load_file(str(ROOT / "configs" / "tiny.py"))
    for name in ("masked_video", "matching", "bag_of_words", "captioning"):
        config.objectives[name].weight = 0.0
    config.model.decoder.num_layers = config.data.target_length = 0
    config.data.blocks_per_batch = 16
    config.data.block_size = 16  # the smallest: smaller blocks are not tried
    return configuration.parse(config)


def size(aval):
    return np.array([0.0 if aval is None else float(np.prod(aval.shape) * 4)])


def test_what_lives_at_one_time_is_added_up():
    def chain(x):  # [10, 10]
        first = x @ x
        second = jnp.sin(first) @ x  # the sine is joined to the product
        third = second @ x
        return first.sum() + third.sum()

    closed = jax.make_jaxpr(chain)(jnp.zeros((10, 10)))
    # first stays to the end, second beside third while that is made; the input is not counted
    assert estimate.peaks(closed.jaxpr, size).max() == 3 * 400


def test_what_a_loop_keeps_for_its_backward_pass_lives_through_both():
    def loss(x, weights):
        return jax.lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, weights)[0].sum()

    closed = jax.make_jaxpr(jax.grad(loss, argnums=1))(jnp.zeros((10, 10)), jnp.zeros((7, 10, 10)))
    kept = 3 * 7 * 400  # of each of seven layers the input, the output y, and 1 - y
    gradients = 7 * 400
    found = estimate.peaks(closed.jaxpr, size).max()
    assert kept + gradients < found <= kept + gradients + 4 * 400  # and a layer's own


def test_operations_of_a_loop_move_their_bytes_every_time():
    def loop(x):
        return jax.lax.scan(lambda h, _: (h @ x, None), x, None, length=9)[0]

    closed = jax.make_jaxpr(loop)(jnp.zeros((10, 10)))
    assert estimate.moved(closed.jaxpr, size) == 9 * 3 * 400


@pytest.mark.parametrize(
    ("sizes", "over_data"),
    [
        ((16, 1, 1), False),
        pytest.param((4, 4, 1), True, marks=pytest.mark.long),
        ((2, 4, 2), False),
    ],
)
def test_state_and_batch_are_those_that_devices_hold(run, sizes, over_data):
    run = search.with_settings(run, {"optimizer.shard_over_data": over_data})
    mesh = dict(zip(("data", "fsdp", "tensor"), sizes, strict=True))
    estimated = estimate.estimate(run, mesh, 16, "tpu").memory
    devices = abstract_step.abstract_mesh(search.meshes.MeshConfig(*sizes), 16)
    laid_out = abstract_step.build(run, devices, 16, "tpu").argument_bytes()
    assert {kind: estimated[kind] for kind in laid_out} == laid_out


@pytest.mark.long
def test_more_micro_batches_and_recomputation_need_less_memory(run):
    mesh = {"data": 4, "fsdp": 1, "tensor": 1}

    def found(settings):
        return estimate.estimate(search.with_settings(run, settings), mesh, 16, "tpu")

    plain, full = found({}), found({"model.remat": "full"})
    halves = found({"training.accumulation_steps": 2})
    assert halves.memory["temporaries"] < 0.7 * plain.memory["temporaries"]
    assert full.memory["temporaries"] < plain.memory["temporaries"]
    assert full.flops > 1.2 * plain.flops
    assert halves.memory["batch"] == plain.memory["batch"]


@pytest.mark.long
def test_arrangements_keep_the_batch_and_come_fastest_first(run):
    found = search.candidates(run, 16, CHIP)
    assert len(found) > 20
    assert {each.run.data.global_batch_size for each in found} == {run.data.global_batch_size}
    speeds = [each.examples_a_second for each in found]
    assert speeds == sorted(speeds, reverse=True) or np.diff(speeds).max() < 0.01 * max(speeds)
    for each in found:
        data, fsdp, tensor = each.run.mesh.resolve(16)
        shards = data * fsdp
        assert shards * tensor == 16
        assert run.data.blocks_per_batch % (shards * each.run.training.accumulation_steps) == 0
    # said as flags, the settings give what was estimated
    flagged = next(
        each for each in found if "model.remat" in each.settings and each.run.mesh.fsdp > 1
    )
    assert f"--config.mesh.fsdp={flagged.run.mesh.fsdp}" in flagged.flags
    assert search.with_settings(run, flagged.settings).model.remat == flagged.run.model.remat


@pytest.mark.long
def test_changes_that_make_a_step_fit_do_and_cost_little(run):
    one = search.with_settings(run, {"mesh.data": 1})
    large = topologies.Target.device(2**40)
    needed = search.candidate(one, {}, 16, large).estimate.needed_bytes
    small = topologies.Target.device(int(0.6 * needed))
    for scale in (1.0, 0.7):  # of what the compiler said
        found = search.fitting(one, 16, small, int(needed * scale))
        assert len(found) == 3
        for change, needs in found:
            assert needs <= small.available_bytes
            assert needs == pytest.approx(change.estimate.needed_bytes * scale, rel=1e-6)
        assert len({tuple(sorted(change.settings)) for change, _ in found}) > 1
        costs = [change.estimate.flops / change.run.data.global_batch_size for change, _ in found]
        assert all(later > 0.98 * first for first, later in itertools.pairwise(costs))
    nothing = topologies.Target.device(2**10)
    assert search.fitting(one, 16, nothing, needed) == []


@pytest.mark.parametrize("form", ["cudnn", "lengths"])
def test_one_device_is_planned_with_a_form_of_attention_that_the_compiler_has(tiny_run, form):
    model = dataclasses.replace(tiny_run.model, attention=form, compute_dtype="bfloat16")
    run = plan.on_one_device(dataclasses.replace(tiny_run, model=model))
    assert run.model.on("tpu", 64, 1).attention == "dense"
