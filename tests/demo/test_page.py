"""The demo page over HTTP: what it answers is what the model says, and who may ask."""

import json
import threading
import time

import numpy as np
import pytest

from tests.demo import pages
from videobert_jax.demo import films
from videobert_jax.files.extras import MissingExtra
from videobert_jax.inference.inputs import InputWarning
from videobert_jax.search_index import windows


def test_the_page_asks_for_nothing_of_elsewhere(page):
    for path, kind in (
        ("/", "text/html"),
        ("/demo.css", "text/css"),
        ("/page.css", "text/css"),
        ("/attention.css", "text/css"),
        ("/demo.js", "text/java"),
        ("/attention.js", "text/java"),
    ):
        status, headers, body = page.request("GET", path)
        assert status == 200 and headers["Content-Type"].startswith(kind)
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'") and "unsafe" not in policy
        assert "*" not in policy and headers["X-Content-Type-Options"] == "nosniff"
        assert b"http" not in body and b"innerHTML" not in body and b"style=" not in body
    for address in ("/../README.md", "/static/demo.js", "//etc/passwd", "/films/../x", "/%2e%2e/"):
        assert page.request("GET", address)[0] == 404


def test_a_search_finds_the_windows_that_fit_best(page, model):
    status, found = page.ask("/search", text="cut the onion")
    assert status == 200
    (told,) = model.encode_text(["cut the onion"])
    of = windows.default(model)
    every = [
        (
            float((model.encode_video([clips]) @ told)[0]),
            name,
            of.seconds(number, pages.CLIPS, model.contract),
        )
        for name, entry in pages.entries().items()
        for number, clips in enumerate(of.cut(entry.features))
    ]
    score, name, (start, end) = max(every)
    best = found["hits"][0]
    assert (best["film"], best["start"], best["end"]) == (name, start, end)
    assert best["score"] == pytest.approx(score, abs=1e-5)
    scores = [hit["score"] for hit in found["hits"]]
    assert len(scores) > 2 and scores == sorted(scores, reverse=True)
    for number, hit in enumerate(found["hits"]):
        for other in found["hits"][:number]:
            if hit["film"] == other["film"]:
                shared = min(hit["end"], other["end"]) - max(hit["start"], other["start"])
                assert shared <= 0.25 * (hit["end"] - hit["start"])


def test_steps_blanks_and_attention_are_those_of_the_model(page, model):
    features = pages.entries()["kitchen_0005"].features
    _, found = page.ask("/steps", film="kitchen_0005", steps=[*pages.STEPS, " "])
    (expected,) = model.localize(features, list(pages.STEPS))
    assert [step["second"] for step in found["steps"]] == expected.seconds.tolist()
    np.testing.assert_allclose(
        [step["cosines"] for step in found["steps"]], expected.cosines.T, atol=1e-4
    )
    _, unordered = page.ask("/steps", film="kitchen_0005", steps=pages.STEPS[::-1], ordered=False)
    assert [step["second"] for step in unordered["steps"]] == (
        expected.cosines.argmax(axis=0)[::-1].tolist()
    )
    text = "pour the [MASK] into the [MASK]"
    _, found = page.ask("/blanks", film="kitchen_0005", text=text)
    for name, video in (("masks", features), ("without", None)):
        (masks,) = model.fill_mask(text, video)
        assert [[told["word"] for told in mask] for mask in found[name]] == [
            [told.word for told in mask] for mask in masks
        ]
    _, found = page.ask(
        "/attention", film="kitchen_0005", text="cut the onion", start=2.1, layer=1, head=2
    )
    first = int(2.1 / model.contract.stride_seconds)
    count = len(found["times"])
    expected = model.attention(features[first : first + count], "cut the onion", layer=1, head=2)
    assert found["times"][0] == first * model.contract.stride_seconds and count > 1
    np.testing.assert_allclose(found["text_reads_video"], expected.text_reads_video, atol=1e-4)
    np.testing.assert_allclose(found["video_reads_text"], expected.video_reads_text, atol=1e-4)
    length = windows.default(model).clips
    first = pages.CLIPS - length  # from a late second on, as many clips as are shown of any other
    for start in (first, 1e5):
        _, found = page.ask("/attention", film="kitchen_0005", text="cut the onion", start=start)
        assert found["times"] == [float(first + of) for of in range(length)]
    _, found = page.ask("/attention", film="kitchen_0005", text="cut the onion", rollout=True)
    expected = model.attention(features[:count], "cut the onion", rollout=True)
    assert (found["layer"], found["head"]) == (None, None)
    np.testing.assert_allclose(found["text_reads_video"], expected.text_reads_video, atol=1e-4)


def test_texts_of_another_script_are_warned_of(page, model):
    foreign, film = "包丁解牛", "kitchen_0005"
    with pytest.warns(InputWarning) as caught:
        model.encode_text(foreign)
    _, found = page.ask("/search", text=foreign)
    assert found["warnings"] == [str(of.message) for of in caught]
    for path, asked in (
        ("/steps", {"film": film, "steps": ["cut the onion", foreign]}),
        ("/blanks", {"film": film, "text": f"{foreign} [MASK]"}),
        ("/attention", {"film": film, "text": foreign}),
    ):
        status, found = page.ask(path, **asked)
        assert status == 200 and len(found["warnings"]) == 1
        assert foreign in found["warnings"][0]
    for path, asked in (
        ("/search", {"text": "cut the onion"}),
        ("/steps", {"film": film, "steps": list(pages.STEPS)}),
    ):
        assert page.ask(path, **asked)[1]["warnings"] == []


@pytest.mark.long
def test_captions_need_a_decoder(page, tiny_run):
    assert "no decoder" in json.loads(page.request("GET", "/about")[2])["no_captions"]
    status, found = page.ask("/captions", film="kitchen_0003")
    assert status == 400 and "decoder" in found["error"]
    writer = pages.model(tiny_run, decoder=True)
    with pages.served(writer) as other:
        about = json.loads(other.request("GET", "/about")[2])
        assert about["no_captions"] is None and about["no_uploads"].startswith("Films cannot")
        status, found = other.ask("/captions", film="kitchen_0003", seconds=18)
        expected = writer.caption_segments(pages.entries()["kitchen_0003"].features, seconds=18)
        assert status == 200
        assert [tuple(of.values()) for of in found["captions"]] == list(map(tuple, expected))
        status, found = other.upload(b"....ftyp")
        assert status == 503 and "cannot be uploaded" in found["error"]


def test_a_film_is_drawn_once_and_sent_by_ranges(model):
    pytest.importorskip("av", reason="PyAV is not installed")
    drawn = []

    def draw(name, folder):
        drawn.append(name)
        return pages.draw(name, folder)

    with pages.served(model, draw=draw) as page:
        assert page.ask("/film", film="kitchen_0003") == (200, {"address": "films/kitchen_0003"})
        status, headers, whole = page.request("GET", "/films/kitchen_0003")
        assert status == 200 and headers["Content-Type"] == "video/mp4"
        for asked, part in (("5-9", whole[5:10]), ("9-", whole[9:]), ("-7", whole[-7:])):
            status, headers, body = page.request(
                "GET", "/films/kitchen_0003", Range=f"bytes={asked}"
            )
            assert status == 206 and body == part
            assert headers["Content-Range"].endswith(f"/{len(whole)}")
        status, _, body = page.request("GET", "/films/kitchen_0003", Range="bytes=99999999-")
        assert status == 416
        assert drawn == ["kitchen_0003"]
        assert page.request("GET", "/films/kitchen_0001")[0] == 404
    assert not page.folder.exists()


def test_films_that_are_there_are_not_drawn_again(model, tmp_path):
    pytest.importorskip("av", reason="PyAV is not installed")
    pages.movie(tmp_path / "kitchen_0005.mp4", 2)

    def never(name, folder):
        raise AssertionError(name)

    with pages.served(model, drawn=tmp_path, draw=never) as page:
        body = page.request("GET", "/films/kitchen_0005")[2]
    assert body == (tmp_path / "kitchen_0005.mp4").read_bytes()
    assert list(tmp_path.iterdir()) == [tmp_path / "kitchen_0005.mp4"]


def test_stills_are_pictures_of_the_kitchen(page, monkeypatch):
    pytest.importorskip("PIL", reason="Pillow is not installed")
    status, headers, body = page.request("GET", "/stills/kitchen_0003/2.5")
    assert (status, headers["Content-Type"]) == (200, "image/jpeg") and body[:2] == b"\xff\xd8"
    assert page.request("GET", "/stills/kitchen_0004/2.5")[0] == 404

    def missing(name, second):
        raise MissingExtra('install it with: pip install "videobert-jax[kitchen]"')

    monkeypatch.setattr(films, "_drawn_still", missing)
    status, _, body = page.request("GET", "/stills/kitchen_0003/2.5")
    assert status == 503 and "pip install" in json.loads(body)["error"]


def test_what_cannot_be_asked_is_said(page):
    for path, asked, status, words in (
        ("/search", {}, 400, "no text"),
        ("/search", {"text": ["a"]}, 400, "no text"),
        ("/search", {"text": "cut the onion " * 3000}, 400, "pieces"),
        ("/search", {"text": "x" * 70_000}, 413, "65,536"),
        ("/steps", {"film": "kitchen_0003", "steps": "cut"}, 400, "list"),
        ("/steps", {"film": "kitchen_0003", "steps": []}, 400, "0 steps"),
        ("/steps", {"film": "../kitchen_0003", "steps": ["a"]}, 404, "no film"),
        ("/steps", {"film": {"a": 1}, "steps": ["a"]}, 404, "no film"),
        ("/blanks", {"film": "kitchen_0003", "text": "cut the onion"}, 400, "MASK"),
        ("/attention", {"film": "kitchen_0003", "text": "a", "layer": 99}, 400, "layer 99"),
        ("/attention", {"film": "kitchen_0003", "text": "a", "layer": True}, 400, "whole"),
        ("/attention", {"film": "kitchen_0003", "text": "a", "rollout": 1}, 400, "true or false"),
        (
            "/attention",
            {"film": "kitchen_0003", "text": "a", "rollout": True, "head": 1},
            400,
            "one of the two",
        ),
        ("/attention", {"film": "kitchen_0003", "text": "a", "start": "x"}, 400, "number"),
        ("/attention", {"film": "kitchen_0003", "text": "a", "start": float("nan")}, 400, "number"),
        ("/nothing", {}, 404, "nothing"),
        ("/_model_alone", {}, 404, "nothing"),
    ):
        found, answer = page.ask(path, **asked)
        assert found == status and words in answer["error"], (path, answer)


def test_pages_of_elsewhere_cannot_ask(page):
    port = page.server.server_port
    for headers, status in (
        ({"Host": f"127.0.0.1:{port}"}, 200),
        ({"Host": f"localhost:{port}"}, 200),
        ({"Host": f"evil.example:{port}"}, 421),
        ({"Host": f"127.0.0.1.evil.example:{port}"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ):
        assert page.request("GET", "/about", **headers)[0] == status, headers
    body = b'{"text": "cut the onion"}'
    assert page.request("POST", "/search", body, Content_Type="text/plain")[0] == 415


def test_one_question_at_a_time_and_few_wait(model, monkeypatch):
    running, most, found = [], [], []

    def slow(text):
        running.append(1)
        most.append(len(running))
        until = time.monotonic() + 60
        while found.count(503) < 6 and time.monotonic() < until:
            time.sleep(0.01)  # none is done before those that are too many have come
        running.pop()
        return np.ones((1, model.bundle.config.joint_dim), np.float32)

    with pages.served(model) as page:
        monkeypatch.setattr(model, "encode_text", slow)
        threads = [
            threading.Thread(target=lambda: found.append(page.ask("/search", text="a")[0]))
            for _ in range(14)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert max(most) == 1
    assert found.count(200) == 8 and found.count(503) == 6


def test_a_fault_is_told_apart_and_the_page_lives_on(page, model, monkeypatch, capsys):
    def broken(*given, **more):
        raise RuntimeError("/secret/path")

    with monkeypatch.context() as patch:
        patch.setattr(model, "fill_mask", broken)
        status, answer = page.ask("/blanks", film="kitchen_0003", text="a [MASK]")
    assert status == 500 and "secret" not in answer["error"]
    assert "/secret/path" in capsys.readouterr().err
    assert page.ask("/blanks", film="kitchen_0003", text="cut the [MASK]")[0] == 200
