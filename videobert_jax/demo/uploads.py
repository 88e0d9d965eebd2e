"""Video files from the browser: received within limits, decoded apart, kept under our own names."""

import dataclasses
import os
import pathlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from io import BufferedIOBase
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8

from videobert_jax.demo.refusals import Refusal, bad
from videobert_jax.files import extras
from videobert_jax.inference.model import PretrainedModel

_CHUNK = 1 << 16
_PACKAGE = pathlib.Path(__file__).resolve().parents[2]
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")  # that an mp4 may begin with


@dataclasses.dataclass(frozen=True)
class Limits:
    """Of an upload: megabytes, seconds of film, seconds that it may take to arrive, and to be
    decoded and extracted; how many films are kept, the oldest making room, and how many uploads may
    arrive, wait or be read at a time."""

    megabytes: int = 64
    film_seconds: float | int = 120.0
    transfer_seconds: float | int = 60.0
    reading_seconds: float | int = 300.0
    kept: int = 4
    at_a_time: int = 4

    @property
    def bytes(self) -> int:
        return self.megabytes << 20


def receive(stream: BufferedIOBase, length: int, path: pathlib.Path, limits: Limits) -> None:
    """Writes `length` bytes to `path`. Raises Refusal where they are too many, too slow, too few or
    no mp4, and leaves no file then."""
    if length > limits.bytes:
        raise Refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the file has {length / 2**20:,.1f} MB; expected {limits.megabytes} MB at most: "
            "cut it or encode it smaller.",
        )
    deadline = time.monotonic() + limits.transfer_seconds
    try:
        with path.open("xb") as file:
            _copy(stream, length, file, deadline, limits)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _copy(
    stream: BufferedIOBase, length: int, file: BinaryIO, deadline: float, limits: Limits
) -> None:
    left = length
    while left:
        begins = left == length
        try:
            # read1 gives what is there, so that a slow client is noticed in time.
            chunk = stream.read(min(left, 8)) if begins else stream.read1(min(left, _CHUNK))
        except TimeoutError:
            chunk, deadline = b"", 0.0
        if time.monotonic() > deadline:
            raise Refusal(
                HTTPStatus.REQUEST_TIMEOUT,
                f"the file took longer than {limits.transfer_seconds:g} s to arrive; send a "
                "smaller one.",
            )
        if not chunk:
            raise bad(f"{length - left} bytes arrived; expected {length}: send the file again.")
        if begins and chunk[4:8] not in _BOXES:
            raise Refusal(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "the file does not begin as an mp4 does; give a video in a .mp4 or .mov file.",
            )
        file.write(chunk)
        left -= len(chunk)


def require_decoder() -> None:
    """Raises MissingExtra where PyAV is absent."""
    extras.require("av", "video")


@dataclasses.dataclass(frozen=True)
class Film:
    """Clip features [n, c] of a film, and its frame [y, x, 3] of every second."""

    features: np.ndarray
    frames: list[np.ndarray]


def extract(
    model: PretrainedModel, path: pathlib.Path, limits: Limits, go_on: Callable[[], None]
) -> Film:
    """What a model reads of a file of unknown contents. `go_on` is called at every frame, and
    raises where it is not to go on.

    The file is decoded twice: to its end before the first feature, which costs far more, so that a
    film that is too long or breaks off is known by then; frames of a whole film are not held.
    Raises Refusal (422) where it is no video, too long, or takes too long to read, and what
    `model.reader.extractor` does.
    """
    extractor = model.reader.extractor
    network, fps = extractor.backbone, extractor.settings.fps
    deadline = time.monotonic() + limits.reading_seconds

    def frames() -> Iterator[np.ndarray]:
        for frame in decoded(path, fps, network.side, network.squashed, limits, deadline):
            go_on()
            yield frame

    kept: list[np.ndarray] = []
    for number, frame in enumerate(frames()):
        if number / fps >= len(kept):
            kept.append(frame)
    if not kept:
        raise _unfit("the file has no frames; check that it is whole.")
    return Film(extractor.features(frames()).astype(np.float32), kept)


def decoded(
    path: pathlib.Path,
    fps: float | int,
    side: int,
    squashed: int | None,
    limits: Limits,
    deadline: float,
) -> Iterator[UInt8[np.ndarray, "y x 3"]]:
    """Frames of a file, decoded by a process of its own until `deadline` (of time.monotonic).
    Raises Refusal (422)."""
    words = [str(path), str(fps), str(side), str(squashed or 0), str(round(limits.reading_seconds))]
    words.append(f"{limits.film_seconds:g}")
    process = subprocess.Popen(
        [sys.executable, "-m", "videobert_jax.demo.decoder", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(_PACKAGE)},
    )
    end = threading.Timer(max(deadline - time.monotonic(), 0.0), process.kill)
    end.start()
    try:
        frames, size = process.stdout, side * side * 3
        number = 0
        while frames is not None and len(raw := frames.read(size)) == size:
            if time.monotonic() > deadline:
                break
            if number / fps > limits.film_seconds:
                raise _unfit(
                    f"the film lasts longer than {limits.film_seconds:g} s; cut it to that."
                )
            number += 1
            yield np.frombuffer(raw, np.uint8).reshape(side, side, 3)
        said = b"" if process.stderr is None else process.stderr.read()
        code = process.wait()
        if time.monotonic() > deadline:
            raise _unfit(
                f"the film took longer than {limits.reading_seconds:g} s to read; give a shorter "
                "or smaller one."
            )
        if code == 2:
            raise _unfit(said.decode("utf-8", "replace").strip().splitlines()[-1])
        if code:
            raise _unfit("the decoder failed on the file; check that it is whole.")
    finally:
        end.cancel()
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _unfit(text: str) -> Refusal:
    return Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, text)
