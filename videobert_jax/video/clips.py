"""Clips: short runs of frames that a 3D network turns into one feature each."""

import collections
import dataclasses
from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np


class ClipError(ValueError):
    """Clips that cannot be cut."""


@dataclasses.dataclass(frozen=True)
class ClipSettings:
    """How a video is cut: resampled to fps frames a second, clips of frames_per_clip frames, one
    every stride_frames. Clip i covers the seconds [i * stride, i * stride + length)."""

    fps: float | int
    frames_per_clip: int
    stride_frames: int

    @property
    def stride_seconds(self) -> float:
        """Seconds from one clip to the next."""
        return self.stride_frames / self.fps

    def with_stride(self, seconds: float) -> "ClipSettings":
        """The same clips, so many seconds apart. Raises ClipError unless that is whole frames."""
        frames = round(seconds * self.fps)
        if frames < 1 or abs(frames / self.fps - seconds) > 1e-3:
            raise ClipError(
                f"a stride of {seconds} s; expected a whole number of frames, "
                f"{1 / self.fps:.4g} s each"
            )
        return dataclasses.replace(self, stride_frames=frames)


def cut(frames: Iterable[np.ndarray], settings: ClipSettings) -> Iterator[np.ndarray]:
    """Clips `[frames_per_clip, y, x, 3]`, one every `stride_frames` frames.

    A last clip of which at least half is there is completed by repeating its last frame; a shorter
    rest is left out, unless it is all there is.
    """
    length, stride = settings.frames_per_clip, settings.stride_frames
    window: list[np.ndarray] = []
    skip = clips = 0
    for frame in frames:
        if skip:
            skip -= 1
            continue
        window.append(frame)
        if len(window) == length:
            yield np.stack(window)
            clips += 1
            window, skip = window[stride:], max(stride - length, 0)
    fresh = len(window) - max(length - stride, 0) if clips else len(window)
    if fresh > 0 and (2 * len(window) >= length or clips == 0):
        yield np.stack(window + [window[-1]] * (length - len(window)))


def cut_at(
    frames: Iterable[np.ndarray], starts: Sequence[int], length: int
) -> Iterator[tuple[int, np.ndarray]]:
    """(number, clip [length, y, x, 3]) of the clips whose first frames are `starts`, by start.

    What lies behind the last frame is that frame again. Only `length` frames are held at a time.
    Gives nothing where there is no frame.
    """
    waiting = collections.deque(sorted(range(len(starts)), key=lambda number: starts[number]))
    window: collections.deque[np.ndarray] = collections.deque(maxlen=length)
    count = 0
    for count, frame in enumerate(frames, start=1):
        window.append(frame)
        while waiting and starts[waiting[0]] + length == count:
            yield waiting.popleft(), np.stack(window)
        if not waiting:
            return
    for number in waiting if window else ():
        rest = list(window)[-max(count - starts[number], 1) :]
        yield number, np.stack(rest + [window[-1]] * (length - len(rest)))


def middle_frames(
    frames: Iterable[np.ndarray], settings: ClipSettings, chosen: Collection[int]
) -> dict[int, np.ndarray]:
    """The frame `[y, x, 3]` in the middle of each chosen clip, by the clip's number.

    The last frame there is for a clip whose middle lies behind the end.
    """
    middle = (settings.frames_per_clip - 1) // 2
    places = {number * settings.stride_frames + middle: number for number in chosen}
    found: dict[int, np.ndarray] = {}
    last = None
    for place, last in enumerate(frames):
        if place in places:
            found[places[place]] = last
        if len(found) == len(places):
            break
    if last is None:
        return {}
    return {number: found.get(number, last) for number in chosen}
