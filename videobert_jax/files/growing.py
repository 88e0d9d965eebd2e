"""Files that lines and records are added to, while a bucket's objects are written whole."""

import concurrent.futures
import contextlib
import io
import pathlib
import time
from collections.abc import Callable

from videobert_jax.files import storage

_SECONDS = 30.0  # between two uploads; a bucket takes one a second of an object


class GrowingFile:
    """A file to add to.

    On a disk what is flushed is there, unless the disk takes no more. In a bucket the whole object
    is written anew in the background, now and then, and whenever `sync` or `close` say so: what is
    lost with the process is what came after the last of them.
    """

    def __init__(
        self, path: storage.Path, before_upload: Callable[[], None] = lambda: None
    ) -> None:
        """Goes on behind what the file holds. before_upload: called before each upload; where it
        raises, nothing is uploaded, and `sync` raises it."""
        self._path, self._before_upload = path, before_upload
        self._file: io.FileIO | None = None
        if isinstance(path, pathlib.Path):
            self._file, self._waiting = io.FileIO(path, "ab"), bytearray()
            return
        self._content = bytearray(path.read_bytes() if path.exists() else b"")
        self._uploader = concurrent.futures.ThreadPoolExecutor(1, "upload")
        self._upload: concurrent.futures.Future | None = None
        self._uploaded_bytes, self._begun_at = len(self._content), time.monotonic()

    def write(self, content: bytes) -> int:
        """Adds bytes; they are in the file after `flush` or, in a bucket, `sync`."""
        if self._file is not None:
            self._waiting += content
        else:
            self._content += content
        return len(content)

    def flush(self) -> None:
        """Hands over what was written, to a bucket when it is time; what fails is tried again, and
        raised by `sync` alone."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._write_waiting(self._file)
        elif time.monotonic() - self._begun_at > _SECONDS and (
            self._upload is None or self._upload.done()
        ):
            self._upload = self._begin_upload()

    def sync(self) -> None:
        """Returns once all that was written is in the file."""
        if self._file is not None:
            self._write_waiting(self._file)
        else:
            self._begin_upload().result()

    def close(self) -> None:
        """Syncs and lets go of the file."""
        self.sync()
        if self._file is not None:
            self._file.close()
        else:
            self._uploader.shutdown()

    def _write_waiting(self, file: io.FileIO) -> None:
        while self._waiting:  # a disk that fills up takes a part
            del self._waiting[: file.write(bytes(self._waiting))]

    def _begin_upload(self) -> concurrent.futures.Future:
        """Behind one that is under way; where that fails, this one brings what it did not."""
        self._begun_at = time.monotonic()
        return self._uploader.submit(self._upload_whole, bytes(self._content))

    def _upload_whole(self, content: bytes) -> None:
        if len(content) > self._uploaded_bytes:
            self._before_upload()
            self._path.write_bytes(content)
            self._uploaded_bytes = len(content)
