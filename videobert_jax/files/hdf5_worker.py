"""The process in which the HDF5 library reads files for `hdf5`, one request after another.

It is run as a script, by its path, and imports nothing of this package. It loads the library once,
and each file is then read in a fork of its own: nothing that a damaged file does to the library's
memory reaches the next one. Requests come as lines of JSON; answers are frames of one byte of
kind, eight of length, and the content: `r` a reply in JSON, `d` a piece of a dataset, `e` why
there is none, `x` that the fork is gone.
"""

import json
import math
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5g, h5l, h5o  # type: ignore[attr-defined]

# deflate, shuffle, fletcher32, szip, nbit, scaleoffset; and lzf, which h5py brings itself.
_FILTERS = {1, 2, 3, 4, 5, 6, 32000}
_PIECE = 8 << 20
_WORKING_MEMORY = 1 << 30
_TEXTS = 4096


def _limit_memory(extra: int) -> None:
    """The address space held to what is used now and a margin: a size that a file only claims
    then ends in an error of the library, not in the machine's memory. On Linux alone."""
    if not os.path.exists("/proc/self/statm"):
        return
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    wanted = used + _WORKING_MEMORY + extra
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard < 0 else min(wanted, hard), hard))


def _tree(file: h5py.File) -> tuple[list[str], dict[str, str]]:
    """Names of the datasets that hard links lead to, and what the other links lead to.

    A group is entered once, however many links lead to it.
    """
    names: list[str] = []
    links: dict[str, str] = {}
    seen: set[int] = {h5o.get_info(file.id).addr}
    waiting = [("", file.id)]
    while waiting:
        prefix, group = waiting.pop()
        found: list[tuple[bytes, int]] = []
        group.links.iterate(
            lambda name, info, found=found: found.append((name, info.type)), info=True
        )
        for raw, kind in found:
            name = prefix + raw.decode("utf-8", "backslashreplace")
            if kind != h5l.TYPE_HARD:
                links[name] = "a soft link" if kind == h5l.TYPE_SOFT else "an external link"
                continue
            info = h5o.get_info(group, raw)
            if info.type == h5o.TYPE_DATASET:
                names.append(name)
            elif info.type == h5o.TYPE_GROUP and info.addr not in seen:
                seen.add(info.addr)
                waiting.append((f"{name}/", h5g.open(group, raw)))
    return sorted(names), links


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """A dataset reached by hard links alone, whose values lie in this file."""
    place, *inner = name.split("/")[::-1]
    group = file.id
    for part in inner[::-1]:
        if group.links.get_info(part.encode()).type != h5l.TYPE_HARD:
            raise ValueError(f"a link stands in the way of {name!r}")
        group = h5g.open(group, part.encode())
    if group.links.get_info(place.encode()).type != h5l.TYPE_HARD:
        raise ValueError(f"{name!r} is a link; expected a dataset of this file")
    dataset = h5py.Dataset(h5d.open(group, place.encode()))
    settings = dataset.id.get_create_plist()
    if settings.get_layout() == h5d.VIRTUAL:
        raise ValueError(f"{name!r} is a virtual dataset, whose values lie in other files")
    if settings.get_external_count():
        raise ValueError(f"{name!r} keeps its values in other files")
    for index in range(settings.get_nfilters()):
        if settings.get_filter(index)[0] not in _FILTERS:
            raise ValueError(
                f"{name!r} needs the filter {settings.get_filter(index)[0]}, expected one that "
                "comes with HDF5 (deflate, szip) or lzf; repack it: h5repack -f GZIP=4"
            )
    return dataset


def _describe(dataset: h5py.Dataset) -> dict[str, Any]:
    text = dataset.dtype.kind == "O" and h5py.check_string_dtype(dataset.dtype) is not None
    if dataset.shape is None:
        raise ValueError("an empty dataset without a shape")
    if dataset.dtype.hasobject and not text:
        raise ValueError(
            f"values of type {dataset.dtype} (references, or rows of many lengths); expected "
            "numbers or text"
        )
    chunk_bytes = math.prod(dataset.chunks) * dataset.dtype.itemsize if dataset.chunks else 0
    return {
        "descr": "text" if text else repr(np.lib.format.dtype_to_descr(dataset.dtype)),
        "shape": list(dataset.shape),
        "stored": dataset.id.get_storage_size(),
        "plain": not text and dataset.id.get_create_plist().get_nfilters() == 0,
        "chunk_bytes": chunk_bytes,
    }


def _pieces(
    shape: tuple[int, ...], item: int, chunk_rows: int, first: int, last: int
) -> Iterator[tuple]:
    """Indices of consecutive pieces, in C order, of rows `first` to `last` of an array.

    Pieces are whole rows, as many chunks as fit, unless one row is larger than a piece: then they
    lie inside it, along the first axis on which they are small enough.
    """
    if not shape:
        yield ()
        return
    row = item * math.prod(shape[1:])
    if row > _PIECE and len(shape) > 1:
        for index in range(first, last):
            for inner in _pieces(shape[1:], item, 1, 0, shape[1]):
                yield (index, *inner)
        return
    rows = max(1, _PIECE // max(1, row))
    if chunk_rows < rows:
        rows -= rows % max(1, chunk_rows)
    while first < last:
        yield (slice(first, min(first + rows, last)),)
        first += rows


def _send(kind: bytes, content: Any) -> None:
    view = memoryview(content)
    sys.stdout.buffer.write(kind + struct.pack("<q", view.nbytes))
    sys.stdout.buffer.write(view)
    sys.stdout.buffer.flush()


class _Reader:
    """Answers requests about one file."""

    def __init__(self) -> None:
        self.file: h5py.File | None = None
        self.patience = 0

    def answer(self, request: dict[str, Any]) -> None:
        _limit_memory(request["chunk_bytes"] * 3)
        self.patience = request["patience"]
        self.begin_piece()
        if self.file is None:
            self.file = h5py.File(request["path"], "r", driver="sec2", rdcc_nbytes=64 << 20)
        if request["what"] == "tree":
            self.reply(_tree(self.file))
        elif request["what"] == "describe":
            self.reply(_describe(_dataset(self.file, request["name"])))
        else:
            self.read(_dataset(self.file, request["name"]), *request["rows"])

    def begin_piece(self) -> None:
        # Without a handler of Python's own, the signal ends the process even inside the library.
        signal.alarm(self.patience)

    def reply(self, value: Any) -> None:
        _send(b"r", json.dumps(value).encode())

    def read(self, dataset: h5py.Dataset, first: int, last: int) -> None:
        text = dataset.dtype.kind == "O"
        values = dataset.asstr() if text else dataset
        item = _PIECE // _TEXTS if text else dataset.dtype.itemsize
        chunk_rows = dataset.chunks[0] if dataset.chunks else 1
        for index in _pieces(dataset.shape, item, chunk_rows, first, last):
            self.begin_piece()
            piece = np.asarray(values[index], object if text else dataset.dtype, order="C")
            if text:
                _send(b"d", json.dumps(piece.reshape(-1).tolist()).encode())
            else:
                _send(b"d", piece.reshape(-1).view(np.uint8))


def _serve(line: bytes) -> None:
    """Answers this request and those after it, up to the one that closes the file."""
    reader = _Reader()
    while line:
        request = json.loads(line)
        if request["what"] == "close":
            _send(b"r", b"null")
            return
        try:
            reader.answer(request)
        # Whatever the library says of a damaged file goes to the process that asked.
        except Exception as error:
            _send(b"e", f"{type(error).__name__}: {error}".encode()[:2000])
        signal.alarm(0)
        line = sys.stdin.buffer.readline()


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while line := sys.stdin.buffer.readline():
        child = os.fork()
        if not child:
            _serve(line)
            sys.stdout.buffer.flush()
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == -signal.SIGALRM:
            _send(b"x", b"the HDF5 library did not come to an end and was stopped")
        elif status:
            _send(b"x", f"the HDF5 library ended the process that read it ({status})".encode())


if __name__ == "__main__":
    main()
