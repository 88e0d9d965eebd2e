"""Copies of datasets on a machine's own disk: whole, by digest, and going on after a stop."""

import concurrent.futures
import json
import types

import pytest

from tests.data.test_writer import tree
from videobert_jax.data import index, local_copy


def test_the_copy_is_the_dataset_and_is_made_once(finished_path, tmp_path):
    copied = local_copy.copy(str(finished_path), tmp_path / "disk")
    assert tree(copied) == tree(finished_path)
    assert index.open_dataset(copied).digest == index.open_dataset(finished_path).digest
    written = {file: file.stat().st_mtime_ns for file in copied.rglob("*") if file.is_file()}
    assert local_copy.copy(str(finished_path), tmp_path / "disk") == copied
    assert {file: file.stat().st_mtime_ns for file in written} == written


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", "index/../../escaped", ""])
def test_no_copy_is_written_outside_its_folder(name):
    said = {"sha256": "0" * 64, "bytes": 1}
    content = json.dumps({"files": {"dataset.json": said, name: said}}).encode()
    with pytest.raises(index.DatasetError, match="outside of the dataset"):
        index.parse_digests(content, "digests.json")


def test_processes_of_a_machine_copy_once(finished_path, tmp_path):
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        copies = list(pool.map(local_copy.copy, [str(finished_path)] * 4, [tmp_path / "disk"] * 4))
    assert len(set(copies)) == 1 and tree(copies[0]) == tree(finished_path)


def test_a_stopped_copy_goes_on_and_never_counts_as_whole(finished_path, tmp_path, monkeypatch):
    whole, copied = local_copy._copy_file, []

    def stop(source, target, expected, progress):
        if len(copied) == 3:
            raise KeyboardInterrupt
        copied.append(target.name)
        whole(source, target, expected, progress)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(local_copy, "_copy_file", stop)
        local_copy.copy(str(finished_path), tmp_path)
    (partial,) = (path for path in tmp_path.iterdir() if path.is_dir())
    with pytest.raises(index.DatasetError):
        index.open_dataset(partial)
    first = (
        partial / copied[0] if (partial / copied[0]).is_file() else next(partial.rglob(copied[0]))
    )
    first.write_bytes(first.read_bytes()[::-1])  # and one of them was damaged since
    assert tree(local_copy.copy(str(finished_path), tmp_path)) == tree(finished_path)


def test_a_damaged_source_and_a_full_disk_are_told(copied_path, tmp_path, monkeypatch):
    shard = next(copied_path.glob("*.array_record-*"))
    content = shard.read_bytes()
    shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(index.DatasetError, match=f"{shard.name}: sha256 .* damaged"):
        local_copy.copy(str(copied_path), tmp_path / "disk")
    shard.write_bytes(content)
    with monkeypatch.context() as patch:
        patch.setattr(local_copy.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=10))
        with pytest.raises(index.DatasetError, match="GB are free.*local_copy"):
            local_copy.copy(str(copied_path), tmp_path / "disk")
    assert tree(local_copy.copy(str(copied_path), tmp_path / "disk")) == tree(copied_path)
    with pytest.raises(index.DatasetError, match="no digests.json can be read there"):
        local_copy.copy(str(tmp_path / "nothing"), tmp_path / "disk")
