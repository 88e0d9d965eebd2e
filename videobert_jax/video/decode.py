"""Frames of a video file at a fixed rate, as square RGB pictures; H.264 files from frames."""

import contextlib
import fractions
import os
import pathlib
from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import UInt8

from videobert_jax.files import extras

_LONGEST_STILL = 600.0  # seconds that a frame may stay on screen: recordings of screens stand still
_BEYOND_CLAIM = 60.0  # seconds that a film may run on behind the length that its file claims
_TOLERANCE = 1e-3  # seconds: time stamps of WebM are rounded to that


class VideoError(ValueError):
    """A file that is no video, or a video without a usable frame."""


def read_frames(
    path: str | os.PathLike, fps: float | int, side: int, squashed: int | None = None
) -> Iterator[np.ndarray]:
    """Frames `[side, side, 3]` uint8 shown at 0, 1/fps, 2/fps ... seconds after the first one.

    They are turned as the file's display matrix says, pixels that are not square are stretched, and
    the picture is cropped as `square` says. Packets that cannot be decoded are passed over, the
    frame before stays on screen. Frames come one by one, so that memory does not depend on the
    length. Raises VideoError where the file cannot be read or has no frame that can, MissingExtra
    where PyAV is absent.
    """
    av = extras.require("av", "video")
    path = pathlib.Path(path)
    if not path.is_file():
        raise VideoError(f"{path} is not there; give the path of a video file")
    try:
        with contextlib.closing(av.open(str(path), metadata_errors="replace")) as container:
            if not container.streams.video:
                raise VideoError(f"{path} has no video stream; give a file with pictures")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            ratio = float(stream.sample_aspect_ratio or 1)  # None, or 0, where the file is silent
            claimed = float((container.duration or 0) / av.time_base)
            for frame in _resample(_believable(path, _decode(container, stream), claimed), fps):
                yield square(frame, side, squashed, ratio)
    except av.error.FFmpegError as error:
        raise VideoError(
            f"{path} cannot be decoded as video ({error}); check that the file is whole"
        ) from error


def resampled(
    pixels: UInt8[np.ndarray, "n h w 3"],
    frame_rate: float | int,
    fps: float | int,
    side: int,
    squashed: int | None = None,
) -> Iterator[np.ndarray]:
    """Frames of a video that was decoded already, as `read_frames` gives those of a file.

    Raises MissingExtra where PyAV, which scales them, is absent.
    """
    av = extras.require("av", "video")
    tick = 0
    while (tick / fps + _TOLERANCE) * frame_rate < len(pixels):
        shown = pixels[int((tick / fps + _TOLERANCE) * frame_rate)]
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(shown), format="rgb24")
        yield square(frame, side, squashed)
        tick += 1


def duration(path: str | os.PathLike) -> float:
    """Seconds that a file claims to last, 0 where it does not say. Raises VideoError."""
    av = extras.require("av", "video")
    try:
        with contextlib.closing(av.open(str(path), metadata_errors="replace")) as container:
            return float((container.duration or 0) / av.time_base)
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(f"{path} cannot be opened as video ({error})") from error


def _decode(container, stream) -> Iterator:
    """Frames of a stream; a damaged packet costs its frames alone."""
    av = extras.require("av", "video")
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.error.InvalidDataError:
            continue


def _believable(path: pathlib.Path, frames: Iterable, claimed: float) -> Iterator:
    """Frames with times. Raises VideoError where those jump as no film's do: a damaged time stamp
    would have the frame before it shown for years."""
    first = before = None
    for frame in frames:
        if frame.time is None:
            continue
        first = frame.time if first is None else first
        gap = frame.time - (frame.time if before is None else before)
        lasts = float((frame.duration or 0) * frame.time_base)
        beyond = frame.time - first - claimed if claimed > 0 else 0.0
        if max(gap, lasts) > _LONGEST_STILL or beyond > _BEYOND_CLAIM:
            raise VideoError(
                f"{path}: a time stamp jumps to {frame.time:,.0f} s of {claimed:,.0f} s; the file "
                "is damaged: fetch or convert it anew"
            )
        before = frame.time
        yield frame


def _resample(decoded: Iterable, fps: float | int) -> Iterator:
    """The frame on screen at every tick, repeated or left out as the rates need."""
    origin, shown, ticks = None, None, 0
    for frame in decoded:
        origin = frame.time if origin is None else origin
        while shown is not None and ticks / fps < frame.time - origin - _TOLERANCE:
            yield shown
            ticks += 1
        shown = frame
    if shown is None:
        return
    on_screen = max(float((shown.duration or 0) * shown.time_base), 2 * _TOLERANCE)
    while ticks / fps < shown.time - origin + on_screen - _TOLERANCE:
        yield shown
        ticks += 1


def square(
    frame, side: int, squashed: int | None = None, ratio: float = 1.0
) -> UInt8[np.ndarray, "side side 3"]:
    """The centre `side` pixels of a decoded frame whose shorter side was scaled to `side`.

    With `squashed`, of one whose both sides were scaled to that many pixels. `ratio`: of a pixel's
    width to its height. The picture is turned as the frame says.
    """
    shown = frame.width * ratio
    scale = side / min(shown, frame.height)
    width, height = round(shown * scale), round(frame.height * scale)
    if squashed is not None:
        width = height = squashed
    pixels = frame.to_ndarray(format="rgb24", width=width, height=height)
    if turns := round(frame.rotation / 90) % 4:  # counterclockwise, as NumPy turns
        pixels = np.rot90(pixels, turns)
        height, width = pixels.shape[:2]
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]


def write_frames(
    path: str | os.PathLike, frames: Iterable[np.ndarray], fps: int | fractions.Fraction
) -> int:
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
