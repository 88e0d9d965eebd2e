"""Checkpoints under damage: what is restored is what was saved, or there is an error."""

import dataclasses
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from videobert_jax.sharding import partitioning
from videobert_jax.training import (
    checkpoint,
    checkpoint_folder,
    checkpoint_verification,
    lease,
    manifest,
)
from videobert_jax.training.state import TrainState

DATA_STATE = {"seed": 3, "step": 0, "sources": [{"name": "main", "digest": "abc"}]}


def mesh_of(rows: int, columns: int) -> jax.sharding.Mesh:
    return jax.make_mesh((rows, columns), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)


def state_on(mesh: jax.sharding.Mesh, seed: int, averaged: bool = True) -> TrainState:
    """A small state: a leaf split over fsdp, a replicated one, a scalar and a bfloat16 one."""
    generator = np.random.default_rng(seed)

    def put(values: np.ndarray, *spec: str | None) -> jax.Array:
        return jax.device_put(values, NamedSharding(mesh, PartitionSpec(*spec)))

    kernel = generator.normal(size=(16, 8)).astype(np.float32)
    return TrainState(
        step=put(np.int32(seed)),
        params={
            "tower": {"kernel": put(kernel, "fsdp"), "bias": put(np.ones(8, np.float32))},
            "head": put(np.asarray(jnp.asarray(kernel, jnp.bfloat16)), None, "fsdp"),
        },
        constants={"video_embedding": {"mean": put(kernel[0]), "scale": put(kernel[1])}},
        opt_state=({"mu": put(kernel * 2, "fsdp")}, {"count": put(np.int32(7))}),
        ema={"tower": {"kernel": put(kernel * 3, "fsdp")}} if averaged else None,
        window=put(np.full((3, 64), seed, np.float32)),
    )


def structs_of(state: TrainState) -> TrainState:
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state
    )


def opened(workdir: pathlib.Path, keep: int = 3, config: str = "c") -> checkpoint.Checkpointer:
    workdir.mkdir(exist_ok=True)
    return checkpoint.Checkpointer(workdir, keep=keep, config_sha256=config)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A workdir with the steps 1, 2 and 3."""
    workdir = tmp_path_factory.mktemp("saved")
    checkpointer = opened(workdir)
    for step in (1, 2, 3):
        checkpointer.save(step, state_on(mesh_of(2, 4), step), {**DATA_STATE, "step": step})
    checkpointer.close()
    return workdir


@pytest.fixture
def workdir(saved: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of `saved` to damage."""
    return pathlib.Path(shutil.copytree(saved, tmp_path / "copy"))


def equal(one: TrainState, other: TrainState) -> bool:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


def flip_bits(workdir: pathlib.Path, step: int) -> None:
    """Changes a byte in the middle of every file that holds array values of a step."""
    files = [p for p in (workdir / "checkpoints" / str(step) / "state").rglob("d/*") if p.is_file()]
    assert files
    for path in files:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes(bytes(content))


@pytest.mark.parametrize("shape", [(2, 4), (8, 1), (1, 2)])
def test_restores_every_bit_on_any_mesh(saved: pathlib.Path, shape: tuple[int, int]):
    mesh = jax.sharding.Mesh(
        np.array(jax.devices()[: shape[0] * shape[1]]).reshape(shape),
        ("data", "fsdp"),
        axis_types=(AxisType.Auto,) * 2,
    )
    expected = state_on(mesh, 3)
    restored = opened(saved).restore_latest(lambda _: structs_of(expected))
    assert restored is not None and restored.step == 3
    assert restored.data_state == {**DATA_STATE, "step": 3}
    assert equal(restored.state, expected)
    assert restored.state.params["tower"]["kernel"].sharding.mesh.shape == mesh.shape


def split_over_data(state: TrainState) -> TrainState:
    """With optimizer and average as optimizer.shard_over_data lays them out."""

    def put(leaf: jax.Array) -> jax.Array:
        mesh = leaf.sharding.mesh
        spec = partitioning.split_over_data(leaf.sharding.spec, leaf.shape, mesh.shape)
        return jax.device_put(leaf, NamedSharding(mesh, spec))

    moved = jax.tree.map(put, {"opt_state": state.opt_state, "ema": state.ema})
    assert moved["ema"]["tower"]["kernel"].addressable_shards[0].data.nbytes == 16 * 8 * 4 / 8
    return dataclasses.replace(state, **moved)


def test_restores_an_optimizer_that_is_split_over_data_from_one_that_is_not_and_back(
    saved: pathlib.Path, tmp_path: pathlib.Path
):
    whole = state_on(mesh_of(2, 4), 3)
    split = split_over_data(whole)
    restored = opened(saved).restore_latest(lambda _: structs_of(split))
    assert equal(restored.state, whole)
    assert structs_of(restored.state).ema == structs_of(split).ema
    checkpointer = opened(tmp_path)
    checkpointer.save(3, restored.state, DATA_STATE)
    checkpointer.close()
    assert equal(opened(tmp_path).restore_latest(lambda _: structs_of(whole)).state, whole)


def test_a_fresh_workdir_has_nothing_to_restore(tmp_path: pathlib.Path):
    assert opened(tmp_path).restore_latest(lambda _: structs_of(state_on(mesh_of(1, 8), 0))) is None


def test_a_changed_state_after_save_does_not_reach_the_checkpoint(tmp_path: pathlib.Path):
    mesh = mesh_of(1, 8)
    checkpointer = opened(tmp_path)
    state = state_on(mesh, 5)
    checkpointer.save(5, state, DATA_STATE)
    double = jax.jit(lambda tree: jax.tree.map(lambda x: x * 2, tree), donate_argnums=0)
    doubled = double(state)
    checkpointer.close()
    restored = opened(tmp_path).restore_latest(lambda _: structs_of(doubled))
    assert restored is not None
    assert equal(restored.state, state_on(mesh, 5))


def test_flipped_bits_fall_back_to_the_step_before(workdir: pathlib.Path, capsys):
    flip_bits(workdir, 3)
    mesh = mesh_of(2, 4)
    restored = opened(workdir).restore_latest(lambda _: structs_of(state_on(mesh, 0)))
    assert restored is not None and restored.step == 2
    assert equal(restored.state, state_on(mesh, 2))
    assert "step 3 does not verify" in capsys.readouterr().err
    assert (workdir / "set_aside" / "damaged-3").is_dir()
    assert checkpoint_folder.manifest_steps(workdir) == [1, 2]


def test_a_damaged_step_can_be_saved_again(workdir: pathlib.Path):
    flip_bits(workdir, 3)
    mesh = mesh_of(2, 4)
    checkpointer = opened(workdir)
    assert checkpointer.restore_latest(lambda _: structs_of(state_on(mesh, 0))).step == 2
    checkpointer.save(3, state_on(mesh, 3), DATA_STATE)
    checkpointer.close()
    assert checkpoint_verification.verify_steps(workdir) == {1: [], 2: [], 3: []}


def test_a_truncated_file_is_noticed(workdir: pathlib.Path):
    for path in (workdir / "checkpoints" / "3" / "state").rglob("d/*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-20])
    assert checkpoint_verification.verify_steps(workdir)[3]
    assert not checkpoint_verification.verify_steps(workdir)[2]


def test_a_changed_data_position_is_noticed(workdir: pathlib.Path):
    [path] = [p for p in (workdir / "checkpoints" / "3" / "data").iterdir() if "metadata" in p.name]
    path.write_text(json.dumps({**DATA_STATE, "step": 4}))
    assert "data position" in checkpoint_verification.verify_steps(workdir)[3][0]


def test_nothing_verifies_is_an_error_and_loses_nothing(workdir: pathlib.Path):
    for step in (1, 2, 3):
        flip_bits(workdir, step)
    with pytest.raises(checkpoint.CheckpointError, match="none of its checkpoints verifies"):
        opened(workdir).restore_latest(lambda _: structs_of(state_on(mesh_of(2, 4), 0)))
    assert checkpoint_folder.manifest_steps(workdir) == [1, 2, 3]


def test_an_unfinished_save_is_set_aside_and_the_step_before_restored(workdir: pathlib.Path):
    checkpoint_folder.manifest_path(workdir, 3).unlink()  # killed between orbax and the manifest
    restored = opened(workdir).restore_latest(lambda _: structs_of(state_on(mesh_of(2, 4), 0)))
    assert restored is not None and restored.step == 2
    assert (workdir / "set_aside" / "unfinished").is_dir()


def somebodys(workdir: pathlib.Path, step: int) -> None:
    """Puts a folder that no save of the run has begun under the number of a step."""
    (workdir / "checkpoints" / str(step)).mkdir()
    (workdir / "checkpoints" / str(step) / "mine").write_text("somebody's")


def kept(workdir: pathlib.Path) -> list[str]:
    return sorted(str(path.relative_to(workdir)) for path in workdir.rglob("mine"))


def test_folders_that_no_save_began_are_moved_and_never_deleted(workdir: pathlib.Path, capsys):
    structs = structs_of(state_on(mesh_of(2, 4), 0))
    checkpoint_folder.delete_step(workdir, 1)
    for _ in range(2):
        somebodys(workdir, 1)
        somebodys(workdir, 7)
        restored = opened(workdir).restore_latest(lambda _: structs)
        assert restored is not None and restored.step == 3
        assert "checkpoints/7 is of no save of this run" in capsys.readouterr().err
    names = ["unknown-1", "unknown-1-2", "unknown-7", "unknown-7-2"]
    assert set(kept(workdir)) == {f"set_aside/{name}/mine" for name in names}
    assert checkpoint_verification.verify_steps(workdir) == {2: [], 3: []}


def test_a_deletion_that_was_cut_off_is_finished(workdir: pathlib.Path):
    checkpoint_folder.manifest_path(workdir, 1).unlink()  # killed before the folder was gone
    (workdir / "manifests" / "2.json").unlink()
    shutil.rmtree(workdir / "checkpoints" / "2")  # killed before the last file of it
    assert opened(workdir).restore_latest(lambda _: structs_of(state_on(mesh_of(2, 4), 0)))
    assert sorted(path.name for path in (workdir / "manifests").iterdir()) == ["3.begun", "3.json"]
    assert checkpoint_folder.checkpoint_steps(workdir) == [3]
    assert not (workdir / "set_aside").exists()


def test_lost_manifests_are_an_error_and_lose_nothing(workdir: pathlib.Path):
    shutil.rmtree(workdir / "manifests")
    with pytest.raises(checkpoint.CheckpointError, match="have no manifest"):
        opened(workdir).restore_latest(lambda _: structs_of(state_on(mesh_of(2, 4), 0)))
    assert checkpoint_folder.checkpoint_steps(workdir) == [1, 2, 3]


def test_another_model_is_named_leaf_by_leaf(workdir: pathlib.Path):
    structs = structs_of(state_on(mesh_of(2, 4), 0))
    structs.params["tower"]["kernel"] = jax.ShapeDtypeStruct((16, 9), jnp.float32)
    structs.params["head"] = jax.ShapeDtypeStruct((16, 8), jnp.float32)  # orbax would cast
    with pytest.raises(checkpoint.CheckpointError) as caught:
        opened(workdir).restore_latest(lambda _: structs)
    message = str(caught.value)
    assert "params/tower/kernel: float32[16, 8] in the checkpoint, float32[16, 9]" in message
    assert "params/head: bfloat16[16, 8] in the checkpoint, float32[16, 8]" in message
    assert "new --workdir" in message
    assert checkpoint_folder.manifest_steps(workdir) == [1, 2, 3]


def test_keeps_the_newest(tmp_path: pathlib.Path):
    checkpointer = opened(tmp_path, keep=2)
    for step in range(1, 6):
        checkpointer.save(step, state_on(mesh_of(2, 4), step), DATA_STATE)
        known = checkpoint_folder.manifest_steps(tmp_path)
        assert len(known) >= min(step - 1, 2)  # never fewer verified ones than asked for
    checkpointer.close()
    assert checkpoint_folder.manifest_steps(tmp_path) == [4, 5]
    assert checkpoint_folder.checkpoint_steps(tmp_path) == [4, 5]


def test_a_later_start_of_the_run_ends_this_one(tmp_path: pathlib.Path):
    def followed() -> None:
        raise lease.LeaseError("the run was started again")

    checkpointer = checkpoint.Checkpointer(
        tmp_path, keep=3, config_sha256="c", before_writing=followed
    )
    with pytest.raises(lease.LeaseError, match="started again"):
        checkpointer.save(1, state_on(mesh_of(2, 4), 1), DATA_STATE)


def test_poll_writes_the_manifest_without_another_save(tmp_path: pathlib.Path):
    checkpointer = opened(tmp_path)
    checkpointer.save(1, state_on(mesh_of(2, 4), 1), DATA_STATE)
    for _ in range(10_000):
        checkpointer.poll()
        if checkpoint_folder.manifest_steps(tmp_path):
            break
        jnp.ones(4).block_until_ready()
    assert checkpoint_folder.manifest_steps(tmp_path) == [1]
    checkpointer.close()


@pytest.mark.parametrize("weights, read", [(None, "ema"), ("ema", "ema"), ("raw", "raw")])
def test_variables_are_read_without_a_mesh(saved: pathlib.Path, weights: str | None, read: str):
    variables, found = checkpoint_folder.read_variables(saved, 2, weights)
    state = state_on(mesh_of(1, 8), 2)
    params = state.ema if read == "ema" else state.params
    expected = {"params": params, "constants": state.constants}
    assert found == read
    assert jax.tree.all(jax.tree.map(np.array_equal, variables, expected))
    assert manifest.tree_digest(variables) == manifest.tree_digest(expected)


def test_without_a_moving_average_there_are_the_weights_alone(tmp_path: pathlib.Path):
    checkpointer, state = opened(tmp_path), state_on(mesh_of(2, 4), 1, averaged=False)
    checkpointer.save(1, state, DATA_STATE)
    checkpointer.close()
    variables, found = checkpoint_folder.read_variables(tmp_path, 1)
    assert found == "raw"
    assert jax.tree.all(jax.tree.map(np.array_equal, variables["params"], state.params))
    with pytest.raises(checkpoint.CheckpointError, match="no moving average.*--weights=raw"):
        checkpoint_folder.read_variables(tmp_path, 1, "ema")


def test_a_state_from_before_there_was_a_window_is_restored_without(tmp_path: pathlib.Path):
    mesh = mesh_of(2, 4)
    old = dataclasses.replace(state_on(mesh, 1), window=None)
    checkpointer = opened(tmp_path / "run")
    checkpointer.save(1, old, DATA_STATE)
    checkpointer.close()
    assert (wanted := structs_of(state_on(mesh, 1))).window is not None
    restored = opened(tmp_path / "run").restore_latest(lambda step: wanted)
    assert restored is not None and restored.state.window is None
    np.testing.assert_array_equal(restored.state.params["tower"]["bias"], np.ones(8))
