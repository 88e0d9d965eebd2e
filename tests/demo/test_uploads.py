"""Uploads: a film that is one, and two hundred that are none."""

import collections
import concurrent.futures
import json
import socket
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest

from tests import colours
from tests.demo import pages
from videobert_jax.demo import uploads
from videobert_jax.video import extract
from videobert_jax.weights import backbones

pytest.importorskip("av", reason="PyAV is not installed")


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> bytes:
    return pages.movie(tmp_path_factory.mktemp("film") / "a.mp4").read_bytes()


def raw(page, head: str, body: bytes = b"", breaks_off: bool = False) -> bytes:
    """What is answered to bytes that are no proper request, and to a client that breaks off."""
    with socket.create_connection(
        ("127.0.0.1", page.server.server_port), timeout=120
    ) as connection:
        host = f"Host: 127.0.0.1:{page.server.server_port}\r\n"
        connection.sendall(head.replace("HOST", host).encode() + b"\r\n\r\n" + body)
        if breaks_off:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := connection.recv(1 << 16):
            answer += chunk
        return answer


def test_a_film_is_read_as_the_model_reads_the_file(page, model, film, tmp_path):
    status, told = page.upload(film)
    assert status == 200 and told["uploaded"] and told["seconds"] == 4
    name = told["name"]
    file = tmp_path / "a.mp4"
    file.write_bytes(film)
    (features,) = model.features([file])
    steps = ["cut the onion", "stir the egg"]
    _, found = page.ask("/steps", film=name, steps=steps)
    (expected,) = model.localize(features, steps)
    np.testing.assert_allclose(
        [step["cosines"] for step in found["steps"]], expected.cosines.T, atol=1e-3
    )
    assert page.request("GET", f"/films/{name}")[2] == film
    assert page.request("GET", f"/stills/{name}/3")[2][:2] == b"\xff\xd8"
    assert any(hit["film"] == name for hit in page.ask("/search", text="cut")[1]["hits"])
    # The oldest of more than two makes room.
    page.upload(film), page.upload(film)
    assert page.request("GET", f"/films/{name}")[0] == 404
    assert len(list(page.folder.glob("upload_*"))) == 2
    hits = page.ask("/search", text="cut")[1]["hits"]
    assert hits and name not in {hit["film"] for hit in hits}


KIND, HOST = "Content-Type: video/mp4\r\n", "POST /uploads HTTP/1.1\r\nHOST"


def sent(body: bytes, kind: str = KIND, more: str = "") -> str:
    """Request line and headers of a body of the length that they say."""
    return f"{HOST}{kind}{more}Content-Length: {len(body)}"


def hostile(film: bytes):
    """(what it is, request line and headers, body, statuses that may answer it)."""
    yield from bad_bodies(film)
    yield from bad_lengths(film)
    yield from bad_names(film)
    yield from bad_requests(film)


def bad_bodies(film: bytes):
    generator = np.random.default_rng(7)
    for number in range(20):
        cut = film[: int(generator.integers(9, len(film) * 0.6))]
        yield f"truncated {number}", sent(cut), cut, {422}
    for number in range(10):
        damaged = bytearray(film)
        for place in generator.integers(12, len(film), 200):
            damaged[place] = generator.integers(256)
        yield f"damaged {number}", sent(damaged), bytes(damaged), {200, 422}
    for number in range(50):
        noise = generator.bytes(int(generator.integers(1, 50_000)))
        yield f"noise {number}", sent(noise), noise, {415}
    for number in range(20):
        text = b"<script>alert(1)</script>" * (number + 1)
        yield f"text {number}", sent(text), text, {415}
    for what, of in (
        ("sound alone", pages.sound()),
        ("three hours", pages.three_hours()),
        ("three hours that lie", pages.three_hours_that_lie()),
    ):
        yield what, sent(of), of, {422}
    over = b"\0\0\0\x18ftypisom" + bytes(2**20)
    for number in range(5):
        yield f"oversize {number}", sent(over), over, {413}


def bad_lengths(film: bytes):
    said = f"{HOST}{KIND}Content-Length: "
    for length in (2**20 + 1, 2**31, 2**32, 2**63, 10**17):
        yield f"declared {length}", f"{said}{length}", b"....ftyp", {413, 411}
        yield f"short of {length % 999}", f"{said}999", b"....ftypisom", {400}
    for length in ("-1", "1e3", "0x10", "", "abc", "9" * 400, "12, 12", "1\r\nContent-Length: 2"):
        yield f"length {length[:9]!r}", f"{said}{length}", b"", {411}
    yield "no length", f"{HOST}{KIND}X: y", b"", {411}
    yield "empty", sent(b""), b"", {400}
    chunked = "Transfer-Encoding: chunked\r\n"
    yield "chunked", f"{HOST}{KIND}{chunked}X: y", b"5\r\nabcde\r\n0\r\n\r\n", {411}
    yield "both", sent(film, more=chunked), film, {411}


def bad_names(film: bytes):
    names = ("../../etc/passwd", "/etc/passwd", "..\\..\\a", "a\0b", "%2e%2e%2fx", "~/x", "a" * 999)
    for name in names:
        short = repr(name[:9])
        part = f'--x\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\n\r\n'
        form, kind = part.encode(), "Content-Type: multipart/form-data; boundary=x\r\n"
        yield f"form {short}", sent(form, kind), form, {415}
        yield f"form as mp4 {short}", sent(form), form, {415}
        named = f'Content-Disposition: attachment; filename="{name[:99]}"\r\n'.replace("\0", "")
        yield f"named {short}", sent(film[:99], more=named), film[:99], {422}
        path, one = name.replace("\0", "%00").replace("\\", "%5c"), "Content-Length: 1"
        at = f"POST /uploads/{path} HTTP/1.1\r\nHOST{KIND}{one}"
        yield f"at {short}", at, b"x", {404}
        yield f"put {short}", f"PUT /{path} HTTP/1.1\r\nHOST{KIND}{one}", b"x", {501}


def bad_requests(film: bytes):
    generator = np.random.default_rng(8)
    types = "text/plain text/html application/json image/svg+xml video/* application/zip x".split()
    for of in [*types, "a" * 5000, "video/mp4x", "multipart/form-data"]:
        yield f"type {of[:9]}", sent(film, f"Content-Type: {of}\r\n"), film, {415}
    for number in range(30):
        line = generator.bytes(60).replace(b"\n", b"").decode("latin-1")
        yield f"line {number}", line, b"", {0, 400, 404, 414, 501, 505}
    yield "headers", f"{HOST}{KIND}" + "".join(f"X{n}: y\r\n" for n in range(500)), b"", {431}
    yield "long line", f"POST /{'a' * 70_000} HTTP/1.1\r\nHOST", b"", {414}


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0


@pytest.mark.long
def test_two_hundred_hostile_uploads_leave_nothing_behind(page, film, tmp_path, monkeypatch):
    """None takes the page down, and no file is left inside its folder or beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = set(page.folder.iterdir())
    tried = 0
    for what, head, body, statuses in hostile(film):
        tried += 1
        answer = raw(page, head, body, what.startswith("short"))
        status = status_of(answer)
        assert status in statuses, (what, answer[:600])
        if status in (411, 413, 415, 422):
            error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
            assert len(error) > 20 and str(page.folder) not in error, what
        if status == 200:  # damage that decodes; what was read before made room
            before = set(page.folder.iterdir())
            assert len(before) <= 2
        assert set(page.folder.iterdir()) == before, what
    assert tried >= 200
    assert list(tmp_path.iterdir()) == []
    assert page.request("GET", "/about")[0] == 200
    assert page.upload(film)[0] == 200


def test_hostile_uploads_at_once_are_answered_one_by_one(page, film):
    """Whatever they meet: the page answers others meanwhile, and keeps what it says."""
    kinds: collections.Counter[str] = collections.Counter()
    cases = []
    for case in bad_bodies(film):
        kinds[kind := case[0].split()[0]] += 1
        if kinds[kind] <= 3:
            cases.append(case)
    cases += [("a film", sent(film), film, {200})] * 3
    with concurrent.futures.ThreadPoolExecutor(12) as threads:
        answers = threads.map(lambda case: raw(page, *case[1:3]), cases)
        for _ in range(5):
            assert page.ask("/search", text="cut the onion")[0] == 200
        found = [status_of(answer) for answer in answers]
    for (what, _, _, statuses), status in zip(cases, found, strict=True):
        assert status in statuses | {503}, what
    assert 503 in found and len(set(found)) > 1
    kept = {entry.path for entry in page.server.service.films.entries.values() if entry.frames}
    assert len(kept) <= 2 and set(page.folder.glob("upload_*")) == kept
    assert page.upload(film)[0] == 200


@pytest.mark.parametrize("made", [pages.three_hours, pages.three_hours_that_lie])
def test_of_a_film_of_three_hours_no_feature_is_made(page, monkeypatch, made):
    """Neither where it says how long it is nor where it lies."""

    def never(*given):
        raise AssertionError("the backbone was asked")

    monkeypatch.setattr(extract.ClipExtractor, "features", never)
    before = set(page.folder.iterdir())
    status, told = page.upload(made())
    assert (status, told["error"]) == (422, "the film lasts longer than 8 s; cut it to that.")
    assert set(page.folder.iterdir()) == before


def test_a_film_that_says_it_is_too_long_is_not_decoded(tmp_path, film):
    file = tmp_path / "a.mp4"
    for of, seconds, code in ((pages.three_hours(), 120, 2), (film, 3, 0), (film, 2, 2)):
        file.write_bytes(of)
        words = [file, 8, colours.SIDE, 0, 60, seconds]
        done = subprocess.run(
            [sys.executable, "-m", "videobert_jax.demo.decoder", *map(str, words)],
            capture_output=True,
        )
        assert done.returncode == code, done.stderr
        assert len(done.stdout) == (0 if code else 4 * 8 * colours.SIDE**2 * 3)
        assert (b"longer than" in done.stderr) == bool(code)


def test_captions_of_an_upload_are_those_of_the_file(tiny_run, film, tmp_path):
    writer = pages.model(tiny_run, decoder=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbones, "of_contract", colours.of_contract)
        assert writer.reader.extractor is not None
    file = tmp_path / "a.mp4"
    file.write_bytes(film)
    with pages.served(writer) as page:
        name = page.upload(film)[1]["name"]
        status, found = page.ask("/captions", film=name, seconds=2)
    assert status == 200 and len(found["captions"]) == 2
    expected = writer.caption_segments(str(file), seconds=2)
    assert [tuple(of.values()) for of in found["captions"]] == list(map(tuple, expected))


def test_what_takes_too_long_is_refused(page, model, film):
    """To arrive; as a film; to be read."""
    port = page.server.server_port
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        head = f"POST /uploads HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: video/mp4\r\n"
        connection.sendall(f"{head}Content-Length: 900\r\n\r\n....ftyp".encode())
        start = time.monotonic()
        for _ in range(12):
            time.sleep(0.3)
            try:
                connection.sendall(b"x")
            except OSError:
                break
        answer = connection.recv(4096)
    assert b"longer than 2 s to arrive" in answer
    assert b" 408 " in answer and time.monotonic() - start < 10
    limits = uploads.Limits(megabytes=1, film_seconds=2, transfer_seconds=2, reading_seconds=60)
    with pages.served(model, limits) as short:
        status, told = short.upload(film)
        assert status == 422 and "longer than 2 s" in told["error"]
        assert list(short.folder.iterdir()) == []
    limits = uploads.Limits(megabytes=1, film_seconds=9, transfer_seconds=2, reading_seconds=0.01)
    with pages.served(model, limits) as hasty:
        status, told = hasty.upload(film)
        assert status == 422 and "to read" in told["error"]
        assert list(hasty.folder.iterdir()) == []


def test_a_page_that_ends_breaks_off_what_it_reads(model, film, tmp_path):
    """Between two frames; what waits is not begun."""
    with pages.served(model) as page:
        service = page.server.service
        service.close()
        status, told = page.upload(film)
        assert status == 503 and "ended" in told["error"]
        assert list(page.folder.iterdir()) == []
        assert page.request("GET", "/films/kitchen_0003")[0] == 404

    def stop():
        raise KeyError("stop")

    file = tmp_path / "a.mp4"
    file.write_bytes(film)
    with pytest.raises(KeyError, match="stop"):
        uploads.extract(model, file, pages.LIMITS, stop)
