"""The demo page by clicks in Chromium (PySide6's WebEngine, of requirements-parity.txt)."""

import pathlib

import numpy as np
import pytest

from tests import colours
from tests.demo import pages
from tests.parity import browsers
from videobert_jax.inference.inputs import InputWarning
from videobert_jax.weights import backbones

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
def writer(tiny_run):
    """A model with a decoder, whose backbone is there."""
    pytest.importorskip("av")
    pytest.importorskip("PIL")
    model = pages.model(tiny_run, decoder=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbones, "of_contract", colours.of_contract)
        assert model.reader.extractor is not None
    return model


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> pathlib.Path:
    """An mp4 of H.264, as users have them."""
    return pages.movie(tmp_path_factory.mktemp("film") / "my film.mp4", 7)


@pytest.fixture(scope="module")
def made(tmp_path_factory, writer, film):
    """(the page's address, what it answers to the search, what the browser says)."""
    folder = tmp_path_factory.mktemp("demo")
    with pages.served(writer, draw=draw) as page:
        _, hits = page.ask("/search", text="stir the egg")
        _, told = page.ask("/blanks", film=hits["hits"][1]["film"], text="cut the [MASK]")
        address = page.server.address
        found = browsers.run("demo_browser.py", address, film, folder)
    assert all((folder / name).stat().st_size > 20_000 for name in ("page.png", "upload.png"))
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


def test_an_mp4_that_is_uploaded_by_a_click_is_captioned(made, writer, film):
    *_, found = made
    assert ".mp4" in found["accepted"] or "video/mp4" in found["accepted"]
    assert found["chosen"] == "upload_1"
    expected = writer.caption_segments(str(film), seconds=5)
    assert len(expected) == 2 and found["told"] == [of.text for of in expected]


def test_h264_is_played_or_the_page_says_that_it_is_not(made):
    """Chromium with the codec, of which Qt's builds may come without."""
    address, *_, found = made
    video = found["upload_video"]
    if found["h264"]:
        assert video["ready"] >= 1 and video["source"].startswith(f"{address}films/upload_1")
        assert found["film_said"].startswith("upload_1 from")
    else:
        assert video["ready"] == 0 and "cannot play the film (H.264" in found["film_said"]


def test_a_sentence_in_another_script_is_warned_of(made, writer):
    with pytest.warns(InputWarning) as caught:
        writer.encode_text("包丁解牛")
    assert made[-1]["foreign"] == " ".join(str(of.message) for of in caught)


def test_nothing_is_asked_of_elsewhere_and_the_console_is_silent(made):
    address, _, _, found = made
    assert found["console"] == []
    assert len(found["requests"]) > 10
    assert all(request.startswith(address) for request in found["requests"])
    assert found["width"] <= 1160
