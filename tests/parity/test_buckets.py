"""A bucket, emulated on this machine, in the place of a disk: files, leases, checkpoints, a run."""

import dataclasses
import http
import json
import pathlib
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.training.test_checkpoint import DATA_STATE, equal, mesh_of, state_on, structs_of
from tests.training.test_run_under_way import under_way
from videobert_jax.configuration import RunConfig
from videobert_jax.files import atomic, growing, storage
from videobert_jax.files.growing import GrowingFile
from videobert_jax.training import (
    checkpoint,
    checkpoint_bundle,
    checkpoint_folder,
    checkpoint_verification,
    lease,
    reporting,
)
from videobert_jax.training.run_under_way import RunUnderWay

pytest.importorskip("gcsfs", reason='gcsfs is not installed: pip install "videobert-jax[gcs]"')
pytest.importorskip("gcp_storage_emulator", reason="the emulator comes with make setup-parity")
from gcp_storage_emulator import server

from tests import buckets

URL = f"gs://{buckets.BUCKET}"


@pytest.fixture(scope="module", autouse=True)
def port() -> Iterator[int]:
    """The emulator's, which this process and those it starts then use."""
    with pytest.MonkeyPatch.context() as patch, buckets.emulated() as number:
        for name, value in buckets.environment(number).items():
            patch.setenv(name, value)
        yield number


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> storage.Path:
    """A folder of the bucket that no other test uses."""
    return storage.path(f"{URL}/{request.node.name.split('[')[0]}")


def test_files_are_written_read_moved_and_removed(folder: storage.Path):
    atomic.write_json(folder / "a" / "one.json", {"n": 1})
    atomic.write_json(folder / "a" / "one.json", {"n": 2})
    atomic.write_text(folder / "a" / "two.txt", "Brühe\n")
    assert json.loads((folder / "a" / "one.json").read_text()) == {"n": 2}
    assert storage.size(folder / "a" / "two.txt") == len("Brühe\n".encode())
    storage.move(folder / "a", folder / "kept" / "b")
    assert not (folder / "a").exists()
    atomic.write_text(folder / "c.txt", "old")
    storage.move(folder / "kept" / "b" / "two.txt", folder / "c.txt")
    assert (folder / "c.txt").read_text() == "Brühe\n"
    assert [path.name for path in (folder / "kept" / "b").glob("*")] == ["one.json"]
    storage.remove(folder / "kept")
    assert sorted(path.name for path in folder.glob("*")) == ["c.txt"]


def test_of_many_that_create_an_object_one_does(folder: storage.Path):
    made, refused = [], []

    def create(number: int) -> None:
        try:
            atomic.create_json(folder / "one.json", {"by": number})
            made.append(number)
        except FileExistsError:
            refused.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and len(refused) == 5
    assert json.loads((folder / "one.json").read_text()) == {"by": made[0]}
    atomic.create_json(folder / "one.json", {"by": made[0]})  # what is there already is no conflict


def test_what_grows_is_there_after_a_sync_and_goes_on_behind_it(folder: storage.Path):
    path = folder / "metrics.jsonl"
    first = GrowingFile(path)
    first.write(b"1\n")
    first.flush()
    assert not path.exists()  # an object a line would be a request a line
    first.sync()
    assert path.read_bytes() == b"1\n"
    first.write(b"2\n")
    first.close()
    second = GrowingFile(path)
    second.write(b"3\n")
    second.close()
    assert path.read_bytes() == b"1\n2\n3\n"


class Refusals:
    """Requests that write, which the bucket refuses as long as `left` is above 0."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left, handle = 0, server.Router.handle

        def refusing(router: Any, method: str) -> None:
            if method == "POST" and self.left > 0:
                self.left -= 1
                buckets.refuse(router._request_handler, http.HTTPStatus.FORBIDDEN)
            else:
                handle(router, method)

        monkeypatch.setattr(server.Router, "handle", refusing)


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> Refusals:
    return Refusals(monkeypatch)


def test_what_an_upload_in_the_background_failed_to_bring_a_sync_brings(
    folder: storage.Path, refusals: Refusals, monkeypatch: pytest.MonkeyPatch
):
    path = folder / "metrics.jsonl"
    file = GrowingFile(path)
    file.write(b"1\n")
    file.sync()
    monkeypatch.setattr(growing, "_SECONDS", 0.0)
    refusals.left = 1
    file.write(b"2\n")
    file.flush()  # a run goes on
    file.sync()
    assert refusals.left == 0 and path.read_bytes() == b"1\n2\n"
    refusals.left = 2
    file.write(b"3\n")
    file.flush()
    with pytest.raises(OSError, match="denied"):
        file.sync()  # a checkpoint does not count without
    assert path.read_bytes() == b"1\n2\n"
    file.close()
    assert path.read_bytes() == b"1\n2\n3\n"


def test_a_bucket_that_is_closed_or_missing_is_said_with_the_command_that_helps():
    storage.require_access(storage.path(f"{URL}/run"))
    assert not list(storage.path(f"{URL}/run").glob("*"))
    cases = {
        buckets.CLOSED: ("storage.objects.create", "not allowed", "add-iam-policy-binding"),
        "videobert-nowhere": ("storage.objects.create", "no such bucket", "buckets create"),
    }
    for bucket, expected in cases.items():
        with pytest.raises(storage.StorageError) as raised:
            storage.require_access(storage.path(f"gs://{bucket}/run"))
        assert all(text in str(raised.value) for text in (*expected, f"gs://{bucket}"))
        with pytest.raises(storage.StorageError, match="storage.objects.list"):
            checkpoint_bundle.load(f"gs://{bucket}/run")


def test_a_later_start_takes_the_workdir(folder: storage.Path):
    first = lease.take(folder)
    first.require_last()
    second = lease.take(folder)
    second.require_last()
    with pytest.raises(lease.LeaseError, match="started again"):
        first.require_last()


def test_figures_are_those_of_the_later_start(
    folder: storage.Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(growing, "_SECONDS", 0.0)
    path = folder / "metrics.jsonl"
    first = GrowingFile(path, before_upload=lease.take(folder).require_last)
    first.write(b"first\n")
    first.sync()
    second = GrowingFile(path, before_upload=lease.take(folder).require_last)
    second.write(b"second\n")
    second.sync()
    first.write(b"first again\n")
    first.flush()  # to an upload in the background
    with pytest.raises(lease.LeaseError, match="started again"):
        first.sync()
    assert path.read_bytes() == b"first\nsecond\n"


def test_a_start_that_ends_since_it_was_followed_uploads_no_figures(
    folder: storage.Path, tiny_run: RunConfig
):
    later = b'{"step": 1}\n'

    def be_followed(start: Any) -> None:
        start.reporter.evaluated(1, "retrieval", {"R1": 0.5}, 0.0)
        lease.take(folder)
        atomic.write_bytes(folder / "metrics.jsonl", later)
        start._require_last()

    with pytest.raises(lease.LeaseError, match="started again"):
        RunUnderWay.take_steps(under_way(tiny_run, folder, be_followed), None)
    assert (folder / "metrics.jsonl").read_bytes() == later


def test_profiles_are_copied_and_nothing_of_them_stays_on_the_disk(
    folder: storage.Path,
    tiny_run: RunConfig,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    none = dataclasses.replace(tiny_run.training, profile_first_step=0, profile_memory_step=0)
    reporting.Profile(folder, none).before_step(1, None)
    assert not list(tmp_path.iterdir())
    both = {"profile_first_step": 1, "profile_steps": 1, "profile_memory_step": 1}
    profile = reporting.Profile(folder, dataclasses.replace(none, **both))
    for step in (1, 2):
        profile.before_step(step, None)
    assert not list(tmp_path.iterdir())
    assert (folder / "profile" / "memory_step_1_process_0.prof").exists()
    assert len(list((folder / "profile" / "plugins" / "profile").glob("*/*.xplane.pb"))) == 1


def opened(folder: storage.Path, keep: int = 3) -> checkpoint.Checkpointer:
    return checkpoint.Checkpointer(folder, keep=keep, config_sha256="c")


def test_checkpoints_are_kept_restored_verified_and_set_aside(folder: storage.Path, capsys):
    checkpointer = opened(folder, keep=2)
    for step in (1, 2, 3):
        checkpointer.save(step, state_on(mesh_of(2, 4), step), {**DATA_STATE, "step": step})
    checkpointer.close()
    assert checkpoint_folder.manifest_steps(folder) == [2, 3]
    assert checkpoint_folder.checkpoint_steps(folder) == [2, 3]
    assert checkpoint_verification.verify_steps(folder) == {2: [], 3: []}

    expected = state_on(mesh_of(8, 1), 3)
    restored = opened(folder).restore_latest(lambda _: structs_of(expected))
    assert restored is not None and restored.step == 3 and equal(restored.state, expected)

    value = next((folder / "checkpoints" / "3" / "state" / "d").glob("*"))
    atomic.write_bytes(value, bytes(byte ^ 4 for byte in value.read_bytes()))
    assert checkpoint_verification.verify_steps(folder)[3]
    restored = opened(folder).restore_latest(lambda _: structs_of(expected))
    assert restored is not None and restored.step == 2
    assert "step 3 does not verify" in capsys.readouterr().err
    assert (folder / "set_aside" / "damaged-3" / "commit_success.txt").exists()
    assert checkpoint_folder.checkpoint_steps(folder) == [2]
    again = opened(folder)
    again.save(3, state_on(mesh_of(2, 4), 3), DATA_STATE)
    again.close()
    assert checkpoint_folder.manifest_steps(folder) == [2, 3]


def test_a_save_that_was_cut_off_does_not_count(folder: storage.Path):
    checkpointer = opened(folder)
    checkpointer.save(1, state_on(mesh_of(2, 4), 1), DATA_STATE)
    checkpointer.save(2, state_on(mesh_of(2, 4), 2), DATA_STATE)
    checkpointer.close()
    (folder / "checkpoints" / "2" / "commit_success.txt").unlink()
    (folder / "manifests" / "2.json").unlink()
    assert checkpoint_folder.checkpoint_steps(folder) == [1]
    again = opened(folder)
    restored = again.restore_latest(lambda _: structs_of(state_on(mesh_of(2, 4), 1)))
    assert restored is not None and restored.step == 1
    again.save(2, state_on(mesh_of(4, 2), 2), DATA_STATE)
    again.close()
    assert checkpoint_verification.verify_steps(folder) == {1: [], 2: []}


def test_a_folder_of_a_bucket_that_no_save_began_is_moved_and_not_deleted(folder: storage.Path):
    checkpointer = opened(folder)
    checkpointer.save(1, state_on(mesh_of(2, 4), 1), DATA_STATE)
    checkpointer.close()
    atomic.write_text(folder / "checkpoints" / "7" / "mine", "somebody's")
    restored = opened(folder).restore_latest(lambda _: structs_of(state_on(mesh_of(2, 4), 1)))
    assert restored is not None and restored.step == 1
    assert (folder / "set_aside" / "unknown-7" / "mine").read_text() == "somebody's"
    assert not (folder / "checkpoints" / "7").exists()
