"""Saves that fail: said, removed, and followed by saves that work."""

import errno
import pathlib
import resource
import threading
import time
from collections.abc import Iterator

import jax
import pytest

from tests.training.test_checkpoint import DATA_STATE, mesh_of, opened, state_on
from videobert_jax.files import storage
from videobert_jax.training import (
    checkpoint_folder,
    checkpoint_verification,
    manifest,
    save_failures,
)
from videobert_jax.training.state import TrainState


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Files cannot grow beyond 1 MiB, so that writing a large state fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def large_state(mesh: jax.sharding.Mesh, seed: int) -> TrainState:
    """With a leaf of 4 MiB, which `full_disk` does not take."""
    state = state_on(mesh, seed)
    state.params["head"] = jax.random.normal(jax.random.key(0), (1024, 1024))
    return state


def unfinished(workdir: pathlib.Path) -> list[str]:
    """Names of what is in the folders of checkpoints and manifests, but for saved steps."""
    found = [*(workdir / "checkpoints").iterdir(), *(workdir / "manifests").iterdir()]
    saved = {str(step) for step in checkpoint_folder.manifest_steps(workdir)}
    return sorted(path.name for path in found if path.stem not in saved)


def test_a_save_that_fails_later_is_said_removed_and_followed_by_one_that_works(
    tmp_path: pathlib.Path, full_disk: None, capfd: pytest.CaptureFixture[str]
):
    mesh = mesh_of(2, 4)
    checkpointer = opened(tmp_path)
    checkpointer.save(1, state_on(mesh, 1), DATA_STATE)
    checkpointer.save(2, large_state(mesh, 2), DATA_STATE)
    assert checkpointer.newest == 2  # under way
    checkpointer.wait()
    assert (checkpointer.newest, checkpointer.failed_saves) == (1, 1)
    said = capfd.readouterr().err
    for part in ("SAVE FAILED: step 2", "File too large", "free some space", "step 1 is saved"):
        assert part in said
    assert unfinished(tmp_path) == [] and checkpoint_folder.manifest_steps(tmp_path) == [1]
    checkpointer.save(2, state_on(mesh, 2), DATA_STATE)  # the same step once more
    checkpointer.save(3, state_on(mesh, 3), DATA_STATE)
    checkpointer.close()
    assert (checkpointer.newest, checkpointer.failed_saves) == (3, 1)
    assert checkpoint_verification.verify_steps(tmp_path) == {1: [], 2: [], 3: []}
    assert unfinished(tmp_path) == []


def test_a_save_that_the_disk_has_no_room_for_is_not_begun(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    mesh = mesh_of(2, 4)
    checkpointer, state = opened(tmp_path), large_state(mesh, 1)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    needed = save_failures.needed_bytes(state)
    assert 2**22 < size < needed < 1.5 * size
    monkeypatch.setattr(storage, "free_bytes", lambda folder: size)
    checkpointer.save(1, state, DATA_STATE)
    assert (checkpointer.newest, checkpointer.failed_saves) == (None, 1)
    said = capsys.readouterr().err
    amounts = f"about {needed / 1e6:.2f} MB, and the disk has {size / 1e6:.2f} MB left"
    for part in (amounts, "lower training.keep_checkpoints", "nothing is saved yet"):
        assert part in said
    assert unfinished(tmp_path) == []
    monkeypatch.setattr(storage, "free_bytes", lambda folder: needed)
    checkpointer.save(1, state, DATA_STATE)
    checkpointer.close()
    assert checkpoint_verification.verify_steps(tmp_path) == {1: []}


def test_a_manifest_that_cannot_be_written_is_a_failed_save(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    mesh, checkpointer = mesh_of(2, 4), opened(tmp_path)

    def full(path: pathlib.Path, written: manifest.Manifest) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(manifest, "write", full)
        checkpointer.save(1, state_on(mesh, 1), DATA_STATE)
        checkpointer.wait()
    assert checkpointer.newest is None and unfinished(tmp_path) == []
    assert "No space left" in capsys.readouterr().err
    checkpointer.save(2, state_on(mesh, 2), DATA_STATE)
    checkpointer.close()
    assert checkpoint_verification.verify_steps(tmp_path) == {2: []}


def test_what_this_run_did_not_make_stays(
    tmp_path: pathlib.Path, full_disk: None, capsys: pytest.CaptureFixture[str]
):
    mesh, checkpointer = mesh_of(2, 4), opened(tmp_path)
    others = ["checkpoints/notes.txt", "checkpoints/2/mine", "manifests/readme", "checkpoints/x/y"]
    for name in others:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("somebody's")
    checkpointer.save(1, large_state(mesh, 1), DATA_STATE)
    checkpointer.save(2, state_on(mesh, 2), DATA_STATE)
    assert checkpointer.failed_saves == 2
    assert "is there already, and not of this save" in capsys.readouterr().err
    checkpointer.save(3, state_on(mesh, 3), DATA_STATE)
    checkpointer.close()
    assert checkpoint_verification.verify_steps(tmp_path) == {3: []}
    assert all((tmp_path / name).read_text() == "somebody's" for name in others)


@pytest.mark.parametrize("ends", [True, False])
def test_what_is_written_while_it_is_removed_goes_too(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, ends: bool
):
    folder = tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp" / "state"
    (tmp_path / "manifests").mkdir()
    monkeypatch.setattr(checkpoint_folder, "_REMOVAL_SECONDS", 2.0 if ends else 0.5)
    stop, written = threading.Event(), 0

    def write() -> None:  # like a write under way: it makes the folders that it misses
        nonlocal written
        until = time.monotonic() + (0.5 if ends else 60.0)
        while time.monotonic() < until and not stop.is_set():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / str(written)).write_text("x")
            written += 1
            time.sleep(0.01)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        if ends:
            checkpoint_folder.remove_unsaved(tmp_path, 2)
            writer.join()
            assert written > 20 and list((tmp_path / "checkpoints").iterdir()) == []
        else:
            with pytest.raises(OSError, match="still being written"):
                checkpoint_folder.remove_unsaved(tmp_path, 2)
    finally:
        stop.set()
        writer.join()
