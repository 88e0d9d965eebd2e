"""The demo page by clicks in Chromium (PySide6's WebEngine, of requirements-parity.txt)."""

import pathlib

import numpy as np
import pytest

from tests.demo import pages
from tests.parity import browsers

SECONDS = pages.CLIPS  # of the films; a clip a second


def draw(name: str, folder: pathlib.Path) -> pathlib.Path:
    """A film in VP8: this Chromium comes without H.264."""
    av = pytest.importorskip("av")
    path = folder / f"{name}.webm"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx", rate=8, options={"g": "8", "cpu-used": "8"})
        stream.width = stream.height = 64
        for number in range(8 * SECONDS):
            pixels = np.full((64, 64, 3), 7 * (number // 8), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_run):
    """(the page's address, what it answers to the search, what the browser says)."""
    pytest.importorskip("av")
    pytest.importorskip("PIL")
    screenshot = tmp_path_factory.mktemp("demo") / "page.png"
    with pages.served(pages.model(tiny_run, decoder=True), draw=draw) as page:
        _, hits = page.ask("/search", text="stir the egg")
        _, told = page.ask("/blanks", film=hits["hits"][1]["film"], text="cut the [MASK]")
        address = page.server.address
        found = browsers.run("demo_browser.py", address, screenshot)
    assert screenshot.stat().st_size > 20_000
    return address, hits["hits"], told, found


def test_the_film_starts_at_the_second_that_was_found(made):
    address, hits, _, found = made
    assert len(found["first"]["hits"]) == len(hits)
    for hit, seen in zip(hits[:2], (found["first"], found["second"]), strict=True):
        assert seen["start"] == hit["start"]
        assert seen["source"].startswith(f"{address}films/{hit['film']}")
        # It plays on from there.
        assert hit["start"] - 0.2 <= seen["time"] < hit["start"] + 15
    assert hits[0]["start"] != hits[1]["start"] or hits[0]["film"] != hits[1]["film"]
    assert max(hit["start"] for hit in hits[:2]) > 1


def test_blanks_captions_steps_and_attention_are_shown(made):
    _, _, told, found = made
    assert found["words"] == [of["word"] for of in told["masks"][0]]
    assert found["captions"] >= 3 and found["attention"] > 10
    assert found["steps"] == len(pages.STEPS)


def test_nothing_is_asked_of_elsewhere_and_the_console_is_silent(made):
    address, _, _, found = made
    assert found["console"] == []
    assert len(found["requests"]) > 10
    assert all(request.startswith(address) for request in found["requests"])
    assert found["width"] <= 1160
