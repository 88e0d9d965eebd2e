"""HDF5 files from anywhere, read by a process of their own.

The HDF5 library follows addresses and sizes that a file says, and a damaged or made file can crash
the process that it runs in, or keep it busy for ever: one of 6,000 damaged copies of two small
files did the latter, with HDF5 1.14.6. So it runs in another process (`hdf5_worker`), a fork for
each file, with bounded memory; what it reads comes through a pipe, and a crash or a hang there is
an ArrayFileError here.
"""

import ast
import atexit
import importlib.util
import json
import math
import os
import pathlib
import select
import signal
import struct
import subprocess
import sys
from typing import Any

import numpy as np

from videobert_jax.files import archives, buffers, extras
from videobert_jax.files.errors import ArrayFileError, reading

# Seconds without an answer before the process is taken for stuck: pieces of 8 MiB come more often
# from any disk or network.
PATIENCE = 60.0
_MAX_REPLY = 1 << 30
_TEXT_BYTES = 64  # of Python's empty text, and of the reference to it
_FRAME = struct.Struct("<cq")


class _Process:
    """The process that reads, and the pipes to it."""

    def __init__(self) -> None:
        if (
            importlib.util.find_spec("h5py") is None
        ):  # the process would end, and the file be blamed
            raise extras.missing("h5py", "train")
        script = pathlib.Path(__file__).with_name("hdf5_worker.py")
        # No plug-ins: a file that names an unknown filter must not make the library load one.
        settings = {
            "HDF5_PLUGIN_PRELOAD": "::",
            "HDF5_USE_FILE_LOCKING": "FALSE",
            "OPENBLAS_NUM_THREADS": "1",
        }
        self.owner = os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | settings,
            bufsize=0,
            start_new_session=True,  # it and its forks are ended together, and by nobody else
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise OSError("no pipes to the process that reads HDF5 files")
        self._in, self._out = self._process.stdin, self._process.stdout
        self._ready = select.poll()
        self._ready.register(self._out, select.POLLIN)

    def ask(self, request: dict[str, Any]) -> None:
        try:
            self._in.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            self._fail()

    def reply(self, patience: float) -> Any:
        return json.loads(self.frame(b"r", patience))

    def frame(self, kind: bytes, patience: float) -> bytearray:
        """Content of the next frame."""
        content = bytearray(self._header(kind, patience))
        self._into(memoryview(content), patience)
        return content

    def frame_into(self, view: memoryview, patience: float) -> int:
        """Content of the next frame of data into the start of `view`; its length."""
        size = self._header(b"d", patience)
        if size > len(view):
            self.end()
            raise ArrayFileError("more values than its header says")
        self._into(view[:size], patience)
        return size

    def _header(self, kind: bytes, patience: float) -> int:
        header = bytearray(_FRAME.size)
        self._into(memoryview(header), patience)
        found, size = _FRAME.unpack(header)
        if not 0 <= size <= _MAX_REPLY:
            self.end()
            raise ArrayFileError(f"an answer of {size} bytes")
        if found in (b"e", b"x"):
            message = bytearray(size)
            self._into(memoryview(message), patience)
            if found == b"x":  # it may have gone between two requests, and been answered for twice
                self.end()
            raise ArrayFileError(message.decode("utf-8", "replace"))
        if found != kind:
            self.end()
            raise ArrayFileError("an answer of another kind than was asked for")
        return size

    def _into(self, view: memoryview, patience: float) -> None:
        try:
            self._fill(view, patience)
        except KeyboardInterrupt:
            self.end()  # what is still in the pipe would be taken for the next answer
            raise

    def _fill(self, view: memoryview, patience: float) -> None:
        while view:
            if not self._ready.poll(patience * 1000):
                self.end()
                raise ArrayFileError(
                    f"the HDF5 library did not answer for {patience / 2:g} s and was stopped; "
                    "the file is damaged: fetch or prepare it anew"
                )
            count = os.readv(self._out.fileno(), [view])
            if not count:
                self._fail()
            view = view[count:]

    def _fail(self) -> None:
        code = self.end()
        raise ArrayFileError(
            f"the HDF5 library ended the process that read the file (status {code}); "
            "the file is damaged: fetch or prepare it anew"
        )

    def end(self) -> int:
        """Ends the process and its fork; its status."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._in.close()
        self._out.close()
        return self._process.wait()

    @property
    def alive(self) -> bool:
        # After a fork the pipes belong to the parent.
        return self.owner == os.getpid() and self._process.poll() is None


_idle: list[_Process] = []


@atexit.register
def _end_idle() -> None:
    while _idle:
        process = _idle.pop()
        if process.alive:
            process.end()


def _take_process() -> _Process:
    while _idle:
        process = _idle.pop()
        if process.alive:
            return process
    return _Process()


class Hdf5File:
    """An open HDF5 file: names of its datasets, and one of them at a time.

    Args:
        path: Of the file.
        max_bytes: Most that one dataset may unpack to, where it is compressed, or not wholly
            stored; what is stored as it is may be as large as the file.
        patience: Seconds without an answer after which the library is stopped.

    Attributes:
        names: Paths of the datasets ("group/name"), sorted. Links other than hard ones are not
            followed, so that nothing outside the file is read.
        links: Path of each such link -> its kind.

    Raises ArrayFileError where the file is damaged, be it that the library crashes on it.
    """

    names: list[str]
    links: dict[str, str]

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        max_bytes: int = archives.MAX_BYTES,
        patience: float = PATIENCE,
    ):
        self._name, self._max_bytes, self._patience = str(path), max_bytes, patience
        with open(path, "rb") as file:
            self._file_bytes = os.fstat(file.fileno()).st_size
        self._path = os.path.abspath(path)
        self._process: _Process | None = _take_process()
        try:
            with reading(self._name, "an HDF5 file"):
                self.names, self.links = self._reply({"what": "tree"})
                self._known = frozenset(self.names)
        except BaseException:
            self.close()
            raise

    def header(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        """(shape, dtype) of a dataset; dtype object for text. Raises ArrayFileError."""
        shape, dtype, _ = self._header(name)
        return shape, dtype

    def read(self, name: str, rows: tuple[int, int] | None = None) -> np.ndarray:
        """A dataset, or its rows from the first up to, and without, the second of `rows`.

        Text comes as an object array of `str`. Raises ArrayFileError.
        """
        with reading(f"{self._name}[{name}]", "a dataset"):
            shape, dtype, described = self._header(name)
            if rows is None:
                rows = (0, shape[0] if shape else 1)
            elif not shape or not 0 <= rows[0] <= rows[1] <= shape[0]:
                raise ArrayFileError(f"rows {rows} asked of shape {shape}")
            elif shape:
                shape = (rows[1] - rows[0], *shape[1:])
            self._check_size(shape, dtype, described)
            request = {"what": "read", "name": name, "rows": rows}
            self._ask(request, described["chunk_bytes"])
            if dtype.hasobject:
                return self._texts(shape)
            array = np.empty(shape, dtype)
            view = array.reshape(-1).view(np.uint8).data
            while view:
                view = view[self._running().frame_into(view, 2 * self._patience) :]
            return array

    def _texts(self, shape: tuple[int, ...]) -> np.ndarray:
        texts, left = [], self._max_bytes
        while len(texts) < math.prod(shape):
            piece = self._running().frame(b"d", 2 * self._patience)
            left -= len(piece)
            if left < 0:
                self._running().end()
                raise ArrayFileError(f"text of more than max_bytes={self._max_bytes}")
            texts += json.loads(piece)
        array = np.empty(len(texts), object)
        array[:] = texts
        return array.reshape(shape)

    def _header(self, name: str) -> tuple[tuple[int, ...], np.dtype, dict[str, Any]]:
        with reading(f"{self._name}[{name}]", "a dataset"):
            if name in self.links:
                raise ArrayFileError(f"{self.links[name]}, which is not followed")
            if name not in self._known:
                raise ArrayFileError(
                    f"no such dataset; there are {len(self.names)}: {', '.join(self.names[:8])}"
                )
            described = self._reply({"what": "describe", "name": name})
            text = described["descr"] == "text"
            dtype = buffers.dtype_of("O" if text else ast.literal_eval(described["descr"]))
            return tuple(described["shape"]), dtype, described

    def _check_size(self, shape: tuple[int, ...], dtype: np.dtype, described: dict) -> None:
        item = _TEXT_BYTES if dtype.hasobject else dtype.itemsize
        size, stored = math.prod(shape) * item, described["stored"]
        if stored > self._file_bytes:
            raise ArrayFileError(
                f"claims {stored} bytes of a file of {self._file_bytes}; the file is damaged"
            )
        if dtype.itemsize == 0 and math.prod(shape):
            raise ArrayFileError("elements of no bytes")
        most = stored if described["plain"] and stored >= size else self._max_bytes
        if described["chunk_bytes"] > max(most, self._max_bytes):
            raise ArrayFileError(
                f"chunks of {described['chunk_bytes']} bytes, more than max_bytes={self._max_bytes}"
            )
        if size > most:
            raise ArrayFileError(
                f"shape {list(shape)} of {dtype} is {size} bytes, of which {stored} are stored; "
                f"more than max_bytes={self._max_bytes}: read rows of it, or allow more if you "
                "trust the file"
            )

    def _running(self) -> _Process:
        if self._process is None:
            raise ArrayFileError("the file is closed")
        if not self._process.alive:
            self._process = _take_process()  # each request names the file anew
        return self._process

    def _ask(self, request: dict[str, Any], chunk_bytes: int = 0) -> None:
        patience = math.ceil(self._patience)
        settings = {"path": self._path, "chunk_bytes": chunk_bytes, "patience": patience}
        self._running().ask(request | settings)

    def _reply(self, request: dict[str, Any]) -> Any:
        self._ask(request)
        return self._running().reply(2 * self._patience)

    def close(self) -> None:
        """Closes the file; the process is kept for the next one."""
        process, self._process = self._process, None
        if process is not None and process.alive:
            process.ask({"what": "close"})
            process.reply(self._patience)
            _idle.append(process)

    def __enter__(self) -> "Hdf5File":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read_hdf5(
    path: str | os.PathLike,
    *,
    max_bytes: int = archives.MAX_BYTES,
    patience: float = PATIENCE,
) -> dict[str, np.ndarray]:
    """All datasets of an HDF5 file by their paths ("group/name"); arguments as of `Hdf5File`.

    Raises ArrayFileError as `Hdf5File` does, where the datasets together are larger than
    `max_bytes` allows, and where the file holds links that are not followed; `Hdf5File` reads the
    rest of such a file.
    """
    with Hdf5File(path, max_bytes=max_bytes, patience=patience) as file:
        if file.links:
            name, kind = next(iter(file.links.items()))
            raise ArrayFileError(
                f"{path}[{name}]: {kind}, which is not followed; open the file with "
                "hdf5.Hdf5File to read the datasets beside it"
            )
        arrays, left = {}, os.stat(path).st_size + max_bytes
        for name in file.names:
            shape, dtype = file.header(name)
            left -= math.prod(shape) * dtype.itemsize
            if left < 0:
                raise ArrayFileError(
                    f"{path}: datasets of more bytes than the file and max_bytes={max_bytes}; "
                    "open it with hdf5.Hdf5File to read them one by one"
                )
            arrays[name] = file.read(name)
        return arrays
