"""Clients that send or read slowly, go away, or are many: the page goes on answering others."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tests import colours
from tests.demo import pages
from videobert_jax.demo import server, uploads


def head(page, request: str, *more: str) -> bytes:
    """A request's lines, without the empty one that ends them."""
    host = f"Host: 127.0.0.1:{page.server.server_port}"
    return "\r\n".join([f"{request} HTTP/1.1", host, *more, ""]).encode()


def upload(page, length: int) -> bytes:
    return head(page, "POST /uploads", "Content-Type: video/mp4", f"Content-Length: {length}")


@contextlib.contextmanager
def dripping(page, begin: bytes, count: int, pause: float = 0.2) -> Iterator[list[socket.socket]]:
    """Connections that go on sending a byte now and then, as long as they can."""
    ends = threading.Event()
    with contextlib.ExitStack() as stack:
        address = ("127.0.0.1", page.server.server_port)
        held = [
            stack.enter_context(socket.create_connection(address, timeout=30)) for _ in range(count)
        ]
        for one in held:
            one.sendall(begin)

        def drip():
            while not ends.wait(pause):
                for one in held:
                    with contextlib.suppress(OSError):
                        one.sendall(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            yield held
        finally:
            ends.set()
            thread.join()


def until(holds: Callable[[], bool], seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)
    return holds()


def answer(connection: socket.socket) -> bytes:
    said = b""
    with contextlib.suppress(ConnectionError):
        while chunk := connection.recv(1 << 16):
            said += chunk
    return said


@pytest.fixture(scope="module")
def decoding() -> None:
    """What uploads are taken for at all."""
    pytest.importorskip("av", reason="PyAV is not installed")


def test_headers_that_drip_hold_no_connection(page, monkeypatch):
    """Who comes while all are taken is told so; those that took them are cut off in time."""
    monkeypatch.setattr(server, "_ARRIVING", 8.0)
    with dripping(page, head(page, "GET /about") + b"X: ", 32):
        status, headers, body = page.request("GET", "/about")
        assert status == 503 and "32 connections" in json.loads(body)["error"]
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert until(lambda: page.request("GET", "/about")[0] == 200, 60)


def test_questions_that_drip_are_refused_in_time(page, monkeypatch):
    monkeypatch.setattr(server, "_ARRIVING", 2.0)
    more = ("Content-Type: application/json", "Content-Length: 900")
    start = time.monotonic()
    with dripping(page, head(page, "POST /search", *more) + b"\r\n", 1) as (connection,):
        said = answer(connection)
    assert said.startswith(b"HTTP/1.1 408 ") and b"took longer than 2 s to arrive" in said
    assert time.monotonic() - start < 15


@pytest.mark.usefixtures("decoding")
def test_uploads_have_a_time_of_their_own_from_their_first_byte(page, monkeypatch):
    """2 s on this page."""
    monkeypatch.setattr(server, "_ARRIVING", 1.0)
    start = time.monotonic()
    with dripping(page, upload(page, 900) + b"\r\n", 1, pause=3) as (connection,):
        said = answer(connection)
    assert said.startswith(b"HTTP/1.1 408 ") and b"longer than 2 s to arrive" in said
    assert time.monotonic() - start < 15
    with dripping(page, upload(page, 9) + b"\r\n....ftyp", 1, pause=1.4) as (connection,):
        assert answer(connection).startswith(b"HTTP/1.1 422 ")


def test_who_reads_slowly_is_cut_off(model, tmp_path, monkeypatch):
    monkeypatch.setattr(server, "_SENDING", 2.0)
    size = 64 << 20
    with (tmp_path / "kitchen_0003.mp4").open("wb") as file:
        file.truncate(size)
    with (
        pages.served(model, drawn=tmp_path) as page,
        dripping(page, head(page, "GET /films/kitchen_0003") + b"\r\n", 1, 60) as (connection,),
    ):
        read, start = 0, time.monotonic()
        with contextlib.suppress(ConnectionError):
            while chunk := connection.recv(1 << 16):
                read += len(chunk)
                time.sleep(0.02)
        assert 0 < read < size and time.monotonic() - start < 20
        assert len(page.request("GET", "/films/kitchen_0003", Range="bytes=0-99")[2]) == 100


@pytest.mark.usefixtures("decoding")
def test_few_uploads_arrive_at_a_time_and_leave_the_model_to_others(model):
    limits = uploads.Limits(megabytes=1, transfer_seconds=60, at_a_time=3)
    with pages.served(model, limits) as page:
        with dripping(page, upload(page, 9000) + b"\r\n....ftyp", 3) as held:
            assert until(lambda: len(list(page.folder.iterdir())) == 3)
            status, told = page.upload(b"....ftyp" + bytes(1000))
            assert status == 503 and "3 films are arriving" in told["error"]
            assert len(list(page.folder.iterdir())) == 3
            assert page.ask("/search", text="cut the onion")[0] == 200
            for one in held:
                one.shutdown(socket.SHUT_WR)
            assert all(answer(one).startswith(b"HTTP/1.1 400 ") for one in held)
        assert list(page.folder.iterdir()) == []
        assert page.upload(b"....ftyp" + bytes(1000))[0] == 422


@pytest.fixture
def slow(monkeypatch):
    """A film of which a frame comes now and then, until `ends` is set; `closed` is, behind it."""

    class Slow:
        ends, begun, closed = threading.Event(), threading.Event(), threading.Event()

    def decoded(*given):
        try:
            while not Slow.ends.wait(0.02):
                Slow.begun.set()
                yield np.zeros((colours.SIDE, colours.SIDE, 3), np.uint8)
        finally:
            Slow.closed.set()
        yield np.zeros((colours.SIDE, colours.SIDE, 3), np.uint8)

    monkeypatch.setattr(uploads, "decoded", decoded)
    yield Slow
    Slow.ends.set()


@pytest.mark.usefixtures("decoding")
def test_questions_are_answered_while_a_film_is_read(page, slow):
    found = []
    thread = threading.Thread(target=lambda: found.append(page.upload(b"....ftypisom")))
    thread.start()
    assert slow.begun.wait(30)
    assert page.ask("/search", text="stir the egg")[0] == 200
    assert found == [] and not slow.closed.is_set()
    slow.ends.set()
    thread.join()
    assert found[0][0] == 200 and found[0][1]["uploaded"]


@pytest.mark.usefixtures("decoding")
def test_a_film_that_nobody_waits_for_is_not_read_on(page, slow):
    before = set(page.folder.iterdir())
    with dripping(page, upload(page, 12) + b"\r\n....ftypisom", 1, pause=60):
        assert slow.begun.wait(30)
        assert len(set(page.folder.iterdir()) - before) == 1
        assert not slow.closed.is_set()
    assert slow.closed.wait(30)
    assert until(lambda: set(page.folder.iterdir()) == before)
    assert page.ask("/search", text="stir the egg")[0] == 200
