"""Damaged copies of a file, the same ones every time; and, as a script, what a reader makes of them
in a process with bounded memory:  python -m tests.files.damage KIND FOLDER COUNT
"""

import collections
import io
import json
import pathlib
import pickle
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import h5py
import numpy as np

from tests.drills import mutations
from tests.files import workbooks
from videobert_jax.files import arrays, hdf5, pickles, spreadsheets, torch_files

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"
# Far above what any of the small files here needs, far below what a lie about sizes would take.
MEMORY = 512 << 20


def damaged(whole: bytes, count: int, seed: int) -> Iterator[bytes]:
    """`count` damaged copies of `whole`."""
    draw = random.Random(seed)
    for _ in range(count):
        yield mutations.damaged_bytes(whole, draw)


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def npy_files() -> list[bytes]:
    """Numbers in two orders, text, fields, and objects."""
    numbers = np.arange(60, dtype=np.float32).reshape(6, 10)
    fields = np.zeros(5, [("start", "<f4"), ("name", "<U4")])
    objects = np.array(["cut", None, [1, 2.5], numbers[0]], object)
    return [_npy(array) for array in (numbers, numbers.T, np.array(["a", "bc"]), fields, objects)]


def npz_files() -> list[bytes]:
    """Stored and compressed."""
    files = []
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, features=np.ones((50, 8), np.float16), words=np.array(["a", "bc"]))
        files.append(file.getvalue())
    return files


def pickle_files() -> list[bytes]:
    """One value of many kinds in every protocol."""
    value = {
        "numbers": [1, -70000, 2**70, 2.5, True, None, 1 + 2j],
        "text": ("é", "plain", b"\x00\xff", bytearray(b"x")),
        "sets": [{1, 2}, frozenset("ab")],
        "dictionaries": [
            collections.OrderedDict(a=1),
            collections.defaultdict(list, {"q": [1]}),
        ],
        "array": np.arange(12.0).reshape(3, 4),
        "big_endian": np.arange(3, dtype=">i4"),
        "objects": np.array(["cut", None, [1]], object),
        "scalar": np.float32(2),
    }
    return [pickle.dumps(value, protocol) for protocol in range(6)]


def hdf5_files() -> list[bytes]:
    """Plain, compressed and text datasets, with the oldest and the newest layout of the format."""
    files = []
    for version in ("earliest", "latest"):
        file = io.BytesIO()
        with h5py.File(file, "w", libver=version) as h5:
            h5["plain"] = np.arange(40, dtype=np.float32).reshape(10, 4)
            h5["group/text"] = ["é", "b"]
            features = np.arange(400, dtype=np.int16).reshape(50, 8)
            h5.create_dataset("group/packed", data=features, chunks=(7, 8), compression="gzip")
        files.append(file.getvalue())
    return files


def xlsx_files() -> list[bytes]:
    """Two sheets of texts and numbers."""
    rows = [[f"step {number}", number] for number in range(20)]
    return [workbooks.xlsx(workbooks.parts({"steps": rows, "targets": rows[:3]}))]


KINDS: dict[str, tuple[Callable[[], list[bytes]], Callable[[pathlib.Path], Any]]] = {
    "npy": (npy_files, lambda path: arrays.read_npy(path, objects=True)),
    "npz": (npz_files, lambda path: arrays.read_npz(path, objects=True)),
    "pickle": (pickle_files, pickles.read_pickle),
    "torch_zip": (lambda: [(GOLDEN / "torch_zip.pth").read_bytes()], torch_files.read_torch),
    "torch_legacy": (lambda: [(GOLDEN / "torch_legacy.pth").read_bytes()], torch_files.read_torch),
    "hdf5": (hdf5_files, lambda path: hdf5.read_hdf5(path, patience=10.0)),
    "xlsx": (xlsx_files, spreadsheets.read_xlsx),
}


def main(kind: str, folder: str, count: int, seed: int) -> None:
    """Prints, as JSON, how many damaged files were read and how many refused, and why."""
    make, read = KINDS[kind]
    wholes = make()
    path = pathlib.Path(folder) / f"damaged.{kind}"
    for whole in wholes:  # the whole ones can be read, or the rest shows nothing
        path.write_bytes(whole)
        read(path)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    outcomes: collections.Counter[str] = collections.Counter()
    slowest = 0.0
    for number, whole in enumerate(wholes):
        for content in damaged(whole, -(-count // len(wholes)), seed + number):
            path.write_bytes(content)
            start = time.monotonic()
            try:
                read(path)
                outcomes["read"] += 1
            except arrays.ArrayFileError as error:
                outcomes["refused"] += 1
                if not str(error).startswith(str(path)):
                    outcomes["without its name"] += 1
                outcomes["crashed the library"] += "ended the process" in str(error)
                outcomes["stuck"] += "did not come to an end" in str(error)
            except BaseException:
                pathlib.Path(folder, "culprit").write_bytes(content)
                raise
            slowest = max(slowest, time.monotonic() - start)
    print(json.dumps({**outcomes, "slowest": slowest}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
