"""A whole demo page over a tiny network with random weights and drawn films, for tests."""

import contextlib
import dataclasses
import functools
import http.client
import io
import json
import pathlib
import tempfile
import threading
from collections.abc import Callable, Iterator

import numpy as np

from tests import bundles, colours, fakes
from videobert_jax.demo import films, server, service, uploads
from videobert_jax.files import extras
from videobert_jax.inference.model import PretrainedModel
from videobert_jax.video import decode

LIMITS = uploads.Limits(megabytes=1, film_seconds=8, transfer_seconds=2, reading_seconds=60, kept=2)
NAMES = ("kitchen_0003", "kitchen_0005")
CLIPS = 36
STEPS = ("cut the onion on the board", "now stir the egg with salt")


def model(run, *, decoder: bool = False) -> PretrainedModel:
    """The network of `run` for features of `tests.colours`, with a decoder if asked for."""
    of_decoder = dataclasses.replace(run.model.decoder, num_layers=int(decoder))
    run = dataclasses.replace(
        run,
        data=dataclasses.replace(run.data, target_length=12),
        model=dataclasses.replace(run.model, decoder=of_decoder),
    )
    return PretrainedModel(
        dataclasses.replace(bundles.tiny(run), contract=colours.CONTRACT, captioning_inputs="video")
    )


def entries(clips: int = CLIPS) -> dict[str, films.Entry]:
    """Films of random clip features."""
    generator = np.random.default_rng(0)
    return {
        name: films.Entry(
            name, generator.normal(size=(clips, fakes.FEATURE_DIM)).astype(np.float32), steps=STEPS
        )
        for name in NAMES
    }


def movie(path: pathlib.Path, seconds: float = 4) -> pathlib.Path:
    """An mp4 of changing colours, 8 frames a second."""
    tones = np.random.default_rng(1).integers(0, 256, (round(seconds), 1, 1, 3)).astype(np.uint8)
    side = colours.SIDE
    frames = np.broadcast_to(np.repeat(tones, 8, axis=0), (8 * len(tones), side, side, 3))
    decode.write_frames(path, frames.copy(), 8)
    return path


def _streamed(add: Callable) -> bytes:
    """An mp4 into which `add` puts what it wants."""
    file = io.BytesIO()
    with av().open(file, "w", format="mp4") as container:
        add(container)
    return file.getvalue()


def av():
    return extras.require("av", "video")


@functools.cache
def three_hours() -> bytes:
    """An mp4 of 10,800 s, a frame a second, as long as it says."""

    def add(container):
        stream = container.add_stream("libx264", rate=1, options={"preset": "ultrafast"})
        stream.width = stream.height = 32
        pixels = np.full((32, 32, 3), 90, np.uint8)
        for _ in range(3 * 3600):
            frame = av().VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())

    return _streamed(add)


def three_hours_that_lie() -> bytes:
    """The same, but its headers say that it lasts a second."""
    film = bytearray(three_hours())
    for header in (b"mvhd", b"mdhd"):
        at = film.find(header) + 20
        film[at : at + 4] = (int.from_bytes(film[at : at + 4], "big") // 10_800).to_bytes(4, "big")
    return bytes(film)


@functools.cache
def sound() -> bytes:
    """An mp4 without a picture."""

    def add(container):
        stream = container.add_stream("aac", rate=8000)
        for number in range(20):
            silence = np.zeros((1, 1024), np.float32)
            frame = av().AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 8000, 1024 * number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())

    return _streamed(add)


def draw(name: str, folder: pathlib.Path) -> pathlib.Path:
    return movie(folder / f"{name}.mp4")


@contextlib.contextmanager
def served(
    of: PretrainedModel,
    limits: uploads.Limits = LIMITS,
    shown: dict[str, films.Entry] | None = None,
    **options,
) -> Iterator["Page"]:
    """The page at a free port; its folder is removed behind it."""
    with tempfile.TemporaryDirectory() as folder:
        shown = films.Films(shown or entries(), pathlib.Path(folder), **{"draw": draw, **options})
        with server.Server(service.Service(of, shown, limits)) as running:
            thread = threading.Thread(target=running.serve_forever, args=(0.02,))
            thread.start()
            try:
                yield Page(running, pathlib.Path(folder))
            finally:
                running.shutdown()
                thread.join()


@dataclasses.dataclass
class Page:
    """A page that is served."""

    server: server.Server
    folder: pathlib.Path

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str):
        """(status, headers, body) of a request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=240)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def ask(self, path: str, **asked):
        """(status, value) of a question."""
        status, _, body = self.request(
            "POST", path, json.dumps(asked).encode(), Content_Type="application/json"
        )
        return status, json.loads(body)

    def upload(self, body: bytes, kind: str = "video/mp4"):
        """(status, value) of an upload."""
        status, _, answer = self.request("POST", "/uploads", body, Content_Type=kind)
        return status, json.loads(answer)
