"""What the page asks of a model, as plain values for JSON: one question at a time."""

import contextlib
import dataclasses
import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from io import BufferedIOBase
from typing import Any

import numpy as np

from videobert_jax.demo import uploads
from videobert_jax.demo.films import Entry, Films
from videobert_jax.demo.refusals import Refusal, bad
from videobert_jax.demo.uploads import Limits
from videobert_jax.inference import attention_page, inputs
from videobert_jax.inference.model import PretrainedModel
from videobert_jax.objectives.config import VIDEO
from videobert_jax.schema import EMBEDDED
from videobert_jax.search_index import moments, windows
from videobert_jax.search_index.moments import Hit

_HITS = 8
_MOST_STEPS = 30
_ENDING = 60.0  # seconds that a computation may go on when the page is to end
_WAITING = 8  # requests that wait for the model; the next is told to come again


@dataclasses.dataclass(frozen=True)
class Indexed:
    """Windows of a film: vectors [k, j] of norm 1, and (start, end) of each in seconds."""

    vectors: np.ndarray
    times: list[tuple[float, float]]


class Service:
    """Every method takes and gives JSON values, raises Refusal on what cannot be asked, and what
    the model does: InputError above all. What a question's answer is of little use for is told in
    its "warnings", a list of strings. Calls may come from several threads.

    Questions go to the model one by one, and uploads are read one by one beside them: the backbone
    takes minutes, for which nobody else should wait.
    """

    def __init__(self, model: PretrainedModel, films: Films, limits: Limits):
        """Encodes the windows of all films, and loads the backbone that uploads need."""
        self.films, self.limits = films, limits
        self._model = model
        self._busy, self._reading = threading.Lock(), threading.Lock()
        self._ends = threading.Event()
        self._waiting = threading.BoundedSemaphore(_WAITING)
        self._uploading = threading.BoundedSemaphore(limits.at_a_time)
        self._numbers = itertools.count(1)
        self._windows = windows.default(model)
        self._indexed = self._index(films.entries)
        self.no_uploads = self._why_no_uploads()

    @contextlib.contextmanager
    def _model_alone(self) -> Iterator[tuple[PretrainedModel, list[str]]]:
        """The model, and what it warns of, known at the end."""
        full = f"{_WAITING} questions are waiting for the model already; ask again in a moment."
        told: list[str] = []

        def tell(text: str) -> None:
            if text not in told:
                told.append(text)

        with _place(self._waiting, full), self._turn(self._busy), inputs.warned(tell):
            yield self._model, told

    @contextlib.contextmanager
    def _turn(self, lock: contextlib.AbstractContextManager) -> Iterator[None]:
        with lock:
            self._require_going_on()
            yield

    def close(self) -> None:
        """Answers nothing more, and waits for what is computed now: a process that ends in the
        middle of a computation is aborted."""
        self._ends.set()
        self.films.close()
        end = time.monotonic() + _ENDING
        for lock in (self._reading, self._busy):
            if lock.acquire(timeout=max(end - time.monotonic(), 0.0)):
                lock.release()

    def _require_going_on(self) -> None:
        if self._ends.is_set():
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the page is being ended; start it anew.")

    def about(self) -> dict[str, Any]:
        """The model, what it can do and not (why), the films, the limits."""
        bundle = self._model.bundle
        datasets = bundle.trained_on.get("datasets", ())
        names = list(dict.fromkeys(str(of["name"]) for of in datasets))  # stages repeat them
        return {
            "model": bundle.name,
            "step": bundle.step,
            "datasets": names,
            "kitchen_only": bool(names) and set(names) <= set(EMBEDDED),
            "films": [self._film(entry) for entry in list(self.films.entries.values())],
            "windows": sum(len(indexed.times) for indexed in self._indexed.values()),
            "no_captions": self._why_no_captions(),
            "no_attention": self._why_no_attention(),
            "no_uploads": self.no_uploads,
            "layers": bundle.config.cross.num_layers,
            "heads": bundle.config.num_heads,
            "limits": {
                "bytes": self.limits.bytes,
                "megabytes": self.limits.megabytes,
                "seconds": self.limits.film_seconds,
            },
        }

    def search(self, asked: dict[str, Any]) -> dict[str, Any]:
        """{"text"} -> {"hits": [{"film", "start", "end", "score"}]}, the best first: cosines of the
        windows of all films with the text; of two that overlap much the better one alone."""
        text = _text(asked)
        with self._model_alone() as (model, warned):
            (told,) = model.encode_text(text)
        found = [
            Hit(name, *times, float(score))
            for name, indexed in list(self._indexed.items())
            for score, times in zip(indexed.vectors @ told, indexed.times, strict=True)
        ]
        best = moments.distinct(sorted(found, key=lambda hit: -hit.score), _HITS)
        return {
            "hits": [
                {"film": hit.file, "start": hit.start, "end": hit.end, "score": hit.score}
                for hit in best
            ],
            "warnings": warned,
        }

    def captions(self, asked: dict[str, Any]) -> dict[str, Any]:
        """{"film", "seconds"} -> {"captions": [{"start", "end", "text"}]} of spans so long."""
        entry = self.films.entry(asked.get("film"))
        seconds = _number(asked, "seconds", 10.0, 1.0, 60.0)
        with self._model_alone() as (model, warned):
            written = model.caption_segments(entry.features, seconds=seconds)
        return {"captions": [of._asdict() for of in written], "warnings": warned}

    def steps(self, asked: dict[str, Any]) -> dict[str, Any]:
        """{"film", "steps"} -> {"seconds", "steps": [{"text", "second", "score", "cosines"}]}."""
        entry = self.films.entry(asked.get("film"))
        steps = asked.get("steps")
        if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
            raise bad("steps are not a list of strings; give a step a line.")
        steps = [step.strip() for step in steps if step.strip()]
        if not 1 <= len(steps) <= _MOST_STEPS:
            raise bad(f"{len(steps)} steps; expected 1 to {_MOST_STEPS}, one a line.")
        with self._model_alone() as (model, warned):
            (found,) = model.localize(
                entry.features, steps, ordered=asked.get("ordered") is not False
            )
        rows = zip(
            steps, found.seconds.tolist(), found.scores.tolist(), found.cosines.T, strict=True
        )
        return {
            "seconds": len(found.cosines),
            "steps": [
                {"text": text, "second": second, "score": score, "cosines": _rounded(cosines)}
                for text, second, score, cosines in rows
            ],
            "warnings": warned,
        }

    def blanks(self, asked: dict[str, Any]) -> dict[str, Any]:
        """{"text" with [MASK], "film"} -> {"masks": [[{"word", "probability"}]], "without": ...}:
        with the film, and from the text alone."""
        text = _text(asked)
        entry = self.films.entry(asked.get("film"))
        with self._model_alone() as (model, warned):
            (seen,) = model.fill_mask(text, entry.features)
            (unseen,) = model.fill_mask(text)
        return {
            "masks": [[told._asdict() for told in mask] for mask in seen],
            "without": [[told._asdict() for told in mask] for mask in unseen],
            "warnings": warned,
        }

    def attention(self, asked: dict[str, Any]) -> dict[str, Any]:
        """{"film", "text", "start", and "layer", "head" or "rollout"} -> weights of the words over
        the clips behind `start`, as many as a window has, and of the clips over the words."""
        text = _text(asked)
        entry = self.films.entry(asked.get("film"))
        start = _number(asked, "start", 0.0, 0.0, 1e6)
        layer, head = _whole(asked, "layer"), _whole(asked, "head")
        rollout = asked.get("rollout", False)
        if not isinstance(rollout, bool):
            raise bad(f"rollout is {str(rollout)[:40]!r}; expected true or false.")
        with self._model_alone() as (model, warned):
            contract, count = model.contract, len(entry.features)
            shown = self._windows.clips
            first = min(int(start / contract.stride_seconds), max(count - shown, 0))
            clips = entry.features[first : first + shown]
            found = model.attention(clips, text, layer=layer, head=head, rollout=rollout)
        return {
            **attention_page.plain(found),
            "times": [(first + of) * contract.stride_seconds for of in range(len(clips))],
            "clip_seconds": contract.clip_seconds,
            "warnings": warned,
        }

    def film(self, asked: dict[str, Any]) -> dict[str, Any]:
        """{"film"} -> {"address"} of its file, once that is drawn."""
        name = self.films.entry(asked.get("film")).name
        self.films.file(name)
        return {"address": f"films/{name}"}

    def upload(
        self, stream: BufferedIOBase, length: int, still_there: Callable[[], bool]
    ) -> dict[str, Any]:
        """The film of an uploaded file, which takes the place of the oldest where there are many.

        `still_there` says whether the client waits for it. Raises Refusal as `uploads` does, 503
        where no backbone is here or others are being read, ConnectionAbortedError where the client
        went away.
        """
        if self.no_uploads is not None:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, self.no_uploads)

        def go_on() -> None:
            self._require_going_on()
            if not still_there():
                raise ConnectionAbortedError("nobody waits for the film any more")

        count = self.limits.at_a_time
        full = f"{count} films are arriving or being read already; upload yours in a moment."
        with _place(self._uploading, full):  # before anything arrives, so that files are few
            name = f"upload_{next(self._numbers)}"
            path = self.films.folder / f"{name}.mp4"
            uploads.receive(stream, length, path, self.limits)
            try:
                with self._turn(self._reading):
                    film = uploads.extract(self._model, path, self.limits, go_on)
                entry = Entry(name, film.features, path, film.frames)
                with self._turn(self._busy):
                    self._indexed.update(self._index({name: entry}))
                    self.films.entries[name] = entry
                    self._make_room()
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        return self._film(entry)

    def _make_room(self) -> None:
        uploaded = [name for name, entry in self.films.entries.items() if entry.frames is not None]
        for name in uploaded[: -self.limits.kept]:
            del self._indexed[name]
            self.films.remove(name)

    def _index(self, entries: dict[str, Entry]) -> dict[str, Indexed]:
        cut = {name: self._windows.cut(entry.features) for name, entry in entries.items()}
        if not cut:
            return {}
        vectors = self._model.encode_video([window for of in cut.values() for window in of])
        ends = np.cumsum([len(of) for of in cut.values()])[:-1]
        contract = self._model.contract
        return {
            name: Indexed(
                of,
                [
                    self._windows.seconds(number, len(entries[name].features), contract)
                    for number in range(len(of))
                ],
            )
            for name, of in zip(cut, np.split(vectors, ends), strict=True)
        }

    def _film(self, entry: Entry) -> dict[str, Any]:
        seconds = self._model.contract.covered_seconds(len(entry.features))
        return {
            "name": entry.name,
            "seconds": seconds,
            "uploaded": entry.frames is not None,
            "steps": list(entry.steps),
        }

    def _why_no_captions(self) -> str | None:
        bundle = self._model.bundle
        if not bundle.config.decoder.num_layers:
            return (
                "This model has no decoder, so it writes no captions; start the page with one that "
                "was trained with objectives.captioning (configs/kitchen_captioning.py)."
            )
        if bundle.captions_read not in (None, VIDEO):
            return (
                f"This model's decoder reads {bundle.captions_read}, and the page has no "
                "transcript; start it with one whose captions are told from the video."
            )
        return None

    def _why_no_attention(self) -> str | None:
        if self._model.bundle.config.cross.num_layers:
            return None
        return "This model has no cross-modal layer (model.cross.num_layers=0) to look into."

    def _why_no_uploads(self) -> str | None:
        """Loads the backbone: a page says from the start what it cannot do, and why."""
        try:
            uploads.require_decoder()
            _ = self._model.reader.extractor
        except ValueError as error:
            if not type(error).__module__.startswith("videobert_jax"):
                raise
            return f"Films cannot be uploaded here: {error}"
        return None


@contextlib.contextmanager
def _place(places: threading.BoundedSemaphore, full: str) -> Iterator[None]:
    """One of so many places. Raises Refusal (503) where none is free."""
    if not places.acquire(blocking=False):
        raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, full)
    try:
        yield
    finally:
        places.release()


def _text(asked: dict[str, Any]) -> str:
    text = asked.get("text")
    if not isinstance(text, str) or not text.strip():
        raise bad("no text; write a sentence.")
    return text.strip()


def _number(asked: dict[str, Any], name: str, default: float, least: float, most: float) -> float:
    value = asked.get(name, default)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not least <= value <= most:
        raise bad(f"{name} is {str(value)[:40]!r}; expected a number from {least:g} to {most:g}.")
    return float(value)


def _whole(asked: dict[str, Any], name: str) -> int | None:
    value = asked.get(name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise bad(f"{name} is {str(value)[:40]!r}; expected a whole number, or null.")
    return value


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in values]
