"""Frames of a video file at a fixed rate, as square RGB pictures; H.264 files from frames."""

import contextlib
import fractions
import os
import pathlib
from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import UInt8

from videobert_jax.files import extras


class VideoError(ValueError):
    """A file that is no video, or a video without a usable frame."""


def read_frames(
    path: str | os.PathLike, fps: float | int, side: int, squashed: int | None = None
) -> Iterator[np.ndarray]:
    """Frames `[side, side, 3]` uint8 shown at 0, 1/fps, 2/fps ... seconds after the first one.

    They are cropped as `square` says. Frames come one by one,
    so that memory does not depend on the length. Raises VideoError where the file cannot be read,
    MissingExtra where PyAV is absent.
    """
    av = extras.require("av", "video")
    path = pathlib.Path(path)
    if not path.is_file():
        raise VideoError(f"{path} is not there; give the path of a video file")
    try:
        with contextlib.closing(av.open(str(path))) as container:
            if not container.streams.video:
                raise VideoError(f"{path} has no video stream; give a file with pictures")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            yield from _resample(container.decode(stream), fps, side, squashed)
    except av.error.FFmpegError as error:
        raise VideoError(
            f"{path} cannot be decoded as video ({error}); check that the file is whole"
        ) from error


def _resample(
    decoded: Iterable, fps: float | int, side: int, squashed: int | None
) -> Iterator[np.ndarray]:
    """The frame on screen at every tick, repeated or left out as the rates need."""
    tolerance = 1e-3  # seconds: time stamps of WebM are rounded to that
    origin, shown, ticks = None, None, 0
    for frame in decoded:
        if frame.time is None:
            continue
        origin = frame.time if origin is None else origin
        while shown is not None and ticks / fps < frame.time - origin - tolerance:
            yield square(shown, side, squashed)
            ticks += 1
        shown = frame
    if shown is None:
        return
    on_screen = max(float((shown.duration or 0) * shown.time_base), 2 * tolerance)
    while ticks / fps < shown.time - origin + on_screen - tolerance:
        yield square(shown, side, squashed)
        ticks += 1


def square(frame, side: int, squashed: int | None = None) -> UInt8[np.ndarray, "side side 3"]:
    """The centre `side` pixels of a decoded frame whose shorter side was scaled to `side`.

    With `squashed`, of one whose both sides were scaled to that many pixels.
    """
    scale = side / min(frame.width, frame.height)
    width, height = round(frame.width * scale), round(frame.height * scale)
    if squashed is not None:
        width = height = squashed
    pixels = frame.to_ndarray(format="rgb24", width=width, height=height)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]


def write_frames(path: str | os.PathLike, frames: Iterable[np.ndarray], fps: int) -> int:
    """Number of RGB uint8 frames written to an H.264 mp4 file, which appears only when whole."""
    av = extras.require("av", "video")
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    count = 0
    try:
        with contextlib.closing(av.open(str(temporary), "w", format="mp4")) as container:
            stream = container.add_stream("libx264", rate=fractions.Fraction(fps))
            stream.pix_fmt = "yuv420p"
            # One thread: the bitstream of several depends on how many cores there are.
            stream.options = {"crf": "20", "preset": "veryfast", "threads": "1"}
            for pixels in frames:
                if count == 0:
                    stream.height, stream.width = pixels.shape[:2]
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
                count += 1
            container.mux(stream.encode())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return count
