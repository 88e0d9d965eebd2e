"""The films that the page shows: the embedded kitchen's, drawn on demand, and what was uploaded."""

import dataclasses
import functools
import io
import pathlib
import threading
from collections.abc import Callable

import numpy as np

from videobert_jax.demo.refusals import unknown
from videobert_jax.files import extras
from videobert_jax.inference.model import PretrainedModel
from videobert_jax.kitchen import assets, corpus

Draw = Callable[[str, pathlib.Path], pathlib.Path]


@dataclasses.dataclass
class Entry:
    """A film: clip features [n, c]; where its file is, once there is one; frames by the second,
    of an upload; sentences that describe its steps, where it is the kitchen's."""

    name: str
    features: np.ndarray
    path: pathlib.Path | None = None
    frames: list[np.ndarray] | None = None
    steps: tuple[str, ...] = ()


def kitchen(model: PretrainedModel) -> dict[str, Entry]:
    """The embedded videos that the model was not trained on, or all where that is not known; none
    where its clip features are others than those that ship. Raises AssetsError."""
    shipped = assets.load()
    ours = dataclasses.replace(shipped.contract, dtype=model.contract.dtype)
    if ours != model.contract:
        return {}
    seen = set(model.trained_on.get("video_names", ()))
    return {
        video.name: Entry(
            video.name,
            video.features.astype(np.float32),
            steps=tuple(step.sentence for step in video.steps),
        )
        for video in shipped.videos
        if video.name not in seen
    }


def draw(name: str, folder: pathlib.Path) -> pathlib.Path:
    """NAME.mp4 of an embedded video in the folder. Raises MissingExtra."""
    extras.require("PIL", "kitchen")
    extras.require("av", "kitchen")
    from videobert_jax.kitchen import rendering

    movie, _ = rendering.render_video(_plan(name), folder)
    return movie


def _plan(name: str) -> corpus.VideoPlan:
    match = corpus.VIDEO_NAME.fullmatch(name)
    if match is None or int(match[1]) >= corpus.NUM_VIDEOS:
        raise unknown(f"there is no film {name!r}.")
    return _plans()[int(match[1])]


@functools.cache
def _plans() -> list[corpus.VideoPlan]:
    return corpus.plan_videos(corpus.NUM_VIDEOS)


class Films:
    """Films by name; files of the embedded ones are drawn into `folder` when they are asked for,
    by `draw`, unless they lie in `drawn`, a folder of `videobert render`."""

    def __init__(
        self,
        entries: dict[str, Entry],
        folder: pathlib.Path,
        *,
        drawn: pathlib.Path | None = None,
        draw: Draw = draw,
    ):
        self.entries = dict(entries)
        self.folder = folder
        self._drawn, self._draw = drawn, draw
        self._closed = False
        self._drawing = threading.Lock()  # one at a time: the second who asks finds it drawn

    def entry(self, name: object) -> Entry:
        """Raises Refusal (404): names are looked up, never made paths."""
        entry = self.entries.get(name) if isinstance(name, str) else None
        if entry is None:
            raise unknown(f"there is no film {str(name)[:80]!r}; choose one of the list.")
        return entry

    def file(self, name: str) -> pathlib.Path:
        """The file of a film. Raises Refusal (404), MissingExtra where it cannot be drawn."""
        entry = self.entry(name)
        with self._drawing:
            if self._closed:
                raise unknown("the page is being ended; start it anew.")
            if entry.path is None:
                there = None if self._drawn is None else self._drawn / f"{entry.name}.mp4"
                is_there = there is not None and there.is_file()
                entry.path = there if is_there else self._draw(entry.name, self.folder)
        if entry.path is None or not entry.path.is_file():
            raise unknown(f"the film {name} is gone; it made room for another one.")
        return entry.path

    def still(self, name: str, second: float) -> bytes:
        """JPEG of a film at a second. Raises Refusal (404), MissingExtra."""
        entry = self.entry(name)
        if entry.frames is not None:
            return _jpeg(entry.frames[min(int(second), len(entry.frames) - 1)])
        return _drawn_still(entry.name, second)

    def close(self) -> None:
        """Begins no further film: its folder goes."""
        self._closed = True

    def remove(self, name: str) -> None:
        """Forgets an upload and deletes its file."""
        entry = self.entries.pop(name)
        if entry.path is not None:
            entry.path.unlink(missing_ok=True)


@functools.lru_cache(512)
def _drawn_still(name: str, second: float) -> bytes:
    plan = _plan(name)
    extras.require("PIL", "kitchen")
    from videobert_jax.kitchen import rendering

    return _jpeg(rendering.render_moments(plan, [second])[0])


def _jpeg(frame: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    extras.require("PIL.Image", "kitchen").fromarray(frame).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
