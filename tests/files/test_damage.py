"""Damaged and made files: each is read or refused, nothing runs, and memory stays bounded."""

import io
import json
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest

from tests.files import damage
from videobert_jax.files import arrays, hdf5, pickles, torch_files

COUNT = 300


@pytest.mark.parametrize(
    "kind",
    [pytest.param(of, marks=[pytest.mark.long] * (of == "hdf5")) for of in damage.KINDS],
)
def test_a_damaged_file_is_read_or_refused_by_name(kind, tmp_path):
    """In a process of its own, whose memory cannot grow by more than 512 MiB."""
    result = subprocess.run(
        [sys.executable, "-m", "tests.files.damage", kind, str(tmp_path), str(COUNT), "20"],
        cwd=damage.GOLDEN.parent.parent,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert result.returncode == 0, result.stderr
    outcomes = json.loads(result.stdout)
    assert outcomes["read"] + outcomes["refused"] >= COUNT
    assert outcomes["refused"] > COUNT // 3 and "without its name" not in outcomes


def test_the_damage_is_the_same_every_time_and_is_damage():
    whole = damage.npy_files()[0]
    first, again = (list(damage.damaged(whole, 60, seed=3)) for _ in range(2))
    assert first == again != list(damage.damaged(whole, 60, seed=4))
    assert sum(content != whole for content in first) > 50


class Canary:
    """Pickles as a call of `function`, as an object with `__reduce__` may."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def _harmful(touched) -> list[object]:
    code = f"open({str(touched)!r}, 'w').close()"
    return [
        Canary(os.system, f"touch {touched}"),
        Canary(eval, code),
        Canary(exec, code),
        Canary(open, str(touched), "w"),
        Canary(np.save, str(touched), 1),
        Canary(getattr, "text", "upper"),
    ]


@pytest.mark.parametrize("protocol", range(6))
def test_code_in_a_pickle_never_runs(protocol, tmp_path):
    touched, path = tmp_path / "touched", tmp_path / "made.pkl"
    for value in _harmful(touched):
        path.write_bytes(pickle.dumps([1, value], protocol))
        with pytest.raises(arrays.ArrayFileError, match=r"made\.pkl: holds `.*may run code"):
            pickles.read_pickle(path)
    assert not touched.exists()
    path.write_bytes(pickle.dumps(_harmful(touched)[1], protocol))
    pickle.loads(path.read_bytes())
    assert touched.exists()  # the canary is alive: Python's own unpickler runs the code


def test_code_in_any_other_file_never_runs(tmp_path):
    touched = tmp_path / "touched"
    for value in _harmful(touched):
        made = np.array([value], object)
        np.save(tmp_path / "a.npy", made, allow_pickle=True)
        np.savez(tmp_path / "a.npz", made=made)
        content = pickle.dumps(value, 2)
        with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
            archive.writestr("archive/data.pkl", content)
        head = [pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
        (tmp_path / "old.pth").write_bytes(b"".join(head) + content)
        for read in (
            lambda: arrays.read_npy(tmp_path / "a.npy", objects=True),
            lambda: arrays.read_npz(tmp_path / "a.npz", objects=True),
            lambda: torch_files.read_torch(tmp_path / "zip.pth"),
            lambda: torch_files.read_torch(tmp_path / "old.pth"),
        ):
            with pytest.raises(arrays.ArrayFileError, match="may run code"):
                read()
    assert not touched.exists()


def _string(size: int) -> bytes:
    return b"\x8d" + size.to_bytes(8, "little") + b"abc."


def _grown(step: bytes, times: int, end: bytes = b"N.") -> bytes:
    return b"\x80\x04" + step * times + end


GREEDY = {
    "a text of 2**40 bytes": b"\x80\x04" + _string(1 << 40),
    "bytes of 2**62": b"\x80\x05\x8e" + (1 << 62).to_bytes(8, "little") + b".",
    "a bytearray of 2**40": b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b".",
    "a frame of 2**60": b"\x80\x04\x95" + (1 << 60).to_bytes(8, "little") + b"\x8f" * 8_000,
    "memo indices": b"\x80\x02N"
    + b"".join(b"r" + (0xFFFFFFFF - i).to_bytes(4, "little") for i in range(4_000))
    + b"Z",
    "empty sets": _grown(b"\x8f", 8_000),
    "empty dictionaries": _grown(b"}\x94", 8_000),
    "marks": _grown(b"(", 8_000, b"."),
    "a bytearray copied again and again": b"\x80\x02cbuiltins\nbytearray\nq\x00B"
    + (1 << 20).to_bytes(4, "little")
    + bytes(1 << 20)
    + b"\x85q\x010"
    + b"h\x00h\x01R" * 100
    + b".",
    "an integer of a megabyte": b"\x80\x02\x8b" + (1 << 20).to_bytes(4, "little") + bytes(1 << 20),
    "digits": b"I" + b"9" * 100_000 + b"\n.",
    "lists nested 5,000 deep": _grown(b"]", 5_000, b"a" * 4_999 + b"."),
    "a chain of lists through the memo": b"\x80\x02]q\x00"
    + b"]q\x01h\x00aq\x000" * 10_000
    + b"h\x00.",
    "tuples nested by one opcode": _grown(b"N" + b"\x85" * 20_000, 1, b"."),
    "a list that holds itself": b"\x80\x02]q\x00h\x00a.",
    "a doubled tuple as a key": b"\x80\x02}N" + b"2\x86" * 60 + b"Ns.",
    "an array of another shape": pickle.dumps(np.arange(4), 2).replace(b"K\x04\x85", b"K\x7f\x85"),
}


@pytest.mark.parametrize("name", GREEDY)
def test_a_pickle_that_asks_for_much_is_refused_before_it_is_given(name, tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, "MEMORY_SLACK", 1 << 16)  # so that small files show it
    path = tmp_path / "greedy.pkl"
    path.write_bytes(GREEDY[name])
    tracemalloc.start()
    try:
        with pytest.raises(arrays.ArrayFileError, match=r"greedy\.pkl"):
            pickles.read_pickle(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    limit = pickles.MEMORY_SLACK + pickles.MEMORY_PER_BYTE * len(GREEDY[name])
    assert peak < limit + (2 << 20)


def test_what_is_shared_a_million_times_stays_small(tmp_path):
    """Lists of lists that would be 2**60 values if they were copied."""
    path = tmp_path / "laughs.pkl"
    path.write_bytes(b"\x80\x02]" + b"q\x00]h\x00ah\x00a" * 60 + b".")
    tracemalloc.start()
    value = pickles.read_pickle(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert value[0] is value[1] and value[0][0] is value[1][1]
    assert peak < 1 << 20


def _bomb(path, claimed: int | None) -> None:
    """An array of 256 MiB of zeros, compressed to 0.3 MB; the archive may claim fewer."""
    header = io.BytesIO()
    size = claimed or 1 << 28
    fields = {"descr": "|u1", "fortran_order": False, "shape": (size,)}
    np.lib.format.write_array_header_1_0(header, fields)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("bomb.npy", "w", force_zip64=True) as file:
            file.write(header.getvalue())
            for _ in range(1 << 4):
                file.write(bytes(1 << 24))
        if claimed:
            archive.infolist()[0].file_size = claimed + len(header.getvalue())


@pytest.mark.parametrize("claimed", [None, 100_000])
def test_an_archive_is_not_unpacked_beyond_its_bound_or_its_word(claimed, tmp_path):
    _bomb(tmp_path / "bomb.npz", claimed)
    tracemalloc.start()
    try:
        with pytest.raises(arrays.ArrayFileError, match="max_bytes" if not claimed else "CRC"):
            arrays.read_npz(tmp_path / "bomb.npz", max_bytes=1 << 26)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20


def _fork_of(file: hdf5.Hdf5File) -> int:
    parent = file._process._process.pid
    (child,) = pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return int(child)


@pytest.mark.parametrize(
    ("fault", "said", "patience"),
    [
        (signal.SIGSEGV, r"ended the process that read it \(-11\)", 60.0),
        (signal.SIGALRM, "did not come to an end", 60.0),
        (signal.SIGSTOP, "did not answer for 4 s", 4.0),
    ],
)
def test_a_crash_or_a_hang_of_the_hdf5_library_is_an_error_of_the_file(
    fault: signal.Signals, said: str, patience: float, tmp_path: pathlib.Path
):
    path = tmp_path / "a.h5"
    path.write_bytes(damage.hdf5_files()[0])
    with hdf5.Hdf5File(path, patience=patience) as file:
        os.kill(_fork_of(file), fault)
        with pytest.raises(arrays.ArrayFileError, match=rf"a\.h5\[plain\]: .*{said}"):
            file.read("plain")
        np.testing.assert_array_equal(file.read("plain").reshape(-1), np.arange(40))
    assert list(hdf5.read_hdf5(path)) == ["group/packed", "group/text", "plain"]
