"""Some damaged files for every reader, in this process; the drill that bites; and readers that a
list would forget."""

import json
import pathlib
import pickle
import random

import pytest

from tests.drills import fuzzing, mutations, readers
from videobert_jax.files import errors, pickles

CASES = 6
PACKAGE = pathlib.Path(readers.__file__).resolve().parents[3] / "videobert_jax"
# Readers that are slow to set up, and those that need no files of a user: the drill has the former.
SLOW = {"youcook2_keyframes", "activitynet_sample", "hdf5", "features_hdf5", "film"}
# What opens files that the same command has written before.
OWN = {
    "kitchen.assets",
    "weights.i3d",  # of one digest, which is compared before anything is read
    "training.ahead",
    "report_page.page",
    "cli.follow",
    "data.assembly",
    "files.errors",
    "tasks.encoded_clips",
    "video.extract",
}


@pytest.mark.parametrize("name", sorted(set(readers.everyone()) - SLOW))
def test_a_damaged_file_is_read_or_refused_by_name(name, tmp_path, monkeypatch):
    reader = readers.everyone()[name]
    for package in reader.packages:
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    bench = fuzzing.Bench(reader, tmp_path, seed=7)
    total = fuzzing.Outcome()
    for case in range(CASES):
        total.add(bench.run(case))
    assert not total.faults
    assert total.read + total.refused == CASES


def test_damage_is_the_same_every_time_and_is_damage():
    content = pickle.dumps({"a": [1, 2]}, 4)
    first, again, other = (
        [mutations.damaged("a.pkl", content, random.Random(f"{seed} {n}")) for n in range(40)]
        for seed in (1, 1, 2)
    )
    assert first == again != other
    assert sum(one != content for one in first) > 30


def test_damage_of_a_case_does_not_depend_on_cases_before_it():
    content = json.dumps({"a": [1, {"b": [2, 3]}], "c": {}}).encode()

    def of(number):
        return mutations.damaged("a.json", content, random.Random(f"0 {number}"))

    alone = [of(number) for number in range(400)]
    assert [of(number) for number in range(400)] == alone


def _reader(read, raises=(errors.ArrayFileError,)) -> readers.Reader:
    def make(folder: pathlib.Path) -> None:
        (folder / "a.pkl").write_bytes(pickle.dumps([1, "a"], 0))

    return readers.Reader("made", ("files.pickles",), make, read, raises)


def _kinds(reader: readers.Reader, folder: pathlib.Path) -> set[str]:
    bench, total = fuzzing.Bench(reader, folder, seed=0), fuzzing.Outcome()
    for case in range(80):
        total.add(bench.run(case))
    return {fault.kind for fault in total.faults}


def test_what_a_reader_must_not_do_is_seen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def unsafe(folder):
        return pickle.loads((folder / "a.pkl").read_bytes())

    assert _kinds(_reader(unsafe), tmp_path / "unsafe") >= {"error"}
    assert (tmp_path / mutations.CANARY).exists()  # code in a pickle that Python itself reads

    def unnamed(folder):
        try:
            return pickles.read_pickle(folder / "a.pkl")
        except errors.ArrayFileError as error:
            raise errors.ArrayFileError("bad") from error

    assert _kinds(_reader(unnamed), tmp_path / "unnamed") == {"unnamed"}

    def leaving(folder):
        (folder.parent / "left").touch()
        safe(folder)

    def safe(folder):
        return pickles.read_pickle(folder / "a.pkl")

    assert _kinds(_reader(safe), tmp_path / "safe") == set()
    kinds = _kinds(_reader(leaving), tmp_path / "leaving")
    assert kinds <= {"outside"}


def test_every_module_that_opens_files_has_a_reader():
    opens = (
        "json_values.parse",
        "read_npy(",
        "read_npz(",
        "open_npz(",
        "read_pickle(",
        "read_torch(",
    )
    opens += (
        "Hdf5File(",
        "read_xlsx(",
        "tensors.read(",
        "tensors.mapped(",
        "av.open(",
        "csv.reader(",
    )
    opens += ("csv.DictReader(", "safe_open(", "zipfile.", "gzip.open(")
    found = {
        str(path.relative_to(PACKAGE).with_suffix("")).replace("/", ".").removesuffix(".__init__")
        for path in PACKAGE.rglob("*.py")
        if any(word in path.read_text() for word in opens)
    }
    known = {module for reader in readers.everyone().values() for module in reader.modules} | OWN
    assert sorted(found - known) == []
