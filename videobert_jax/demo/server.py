"""The page's HTTP server: the standard library's, with fixed addresses and strict headers.

    GET  /  /demo.css  /demo.js ...    the page
    GET  /about                        what the model is and can, as JSON
    GET  /films/NAME  /stills/NAME/S   a film (by ranges), a picture of it at second S
    POST /search /film /captions /steps /blanks /attention     JSON in, JSON out
    POST /uploads                      a body that is the mp4 itself

What is refused is JSON {"error": what, and what to do} with a status of 4xx, or 503 where something
is missing here or too many ask. There is no parsing of forms, and no name from outside is part of a
path. Connections are few, and none can be held by sending or reading slowly.
"""

import http.server
import importlib.resources
import io
import json
import re
import select
import socket
import sys
import threading
import time
import traceback
from http import HTTPStatus
from typing import Any

from videobert_jax.demo.refusals import Refusal, bad, unknown
from videobert_jax.demo.service import Service
from videobert_jax.files.extras import MissingExtra
from videobert_jax.inference import attention_page

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_MOST_JSON = 1 << 16
_CONNECTIONS = 32
_REFUSALS = 32  # connections beyond those that are told so at a time; others are closed
_ARRIVING = 20.0  # seconds that a request may take to arrive, but for an uploaded film
_STALLING = 20.0  # seconds that a client may take none of what is sent to it
_SENDING = 120.0  # seconds that a film may take; a browser asks for the rest when it needs that
_DRAIN = 2.0  # seconds that a refused client may go on sending, so that it reads the answer
_CHUNK = 1 << 16
_JSON = "application/json"
_VIDEO_TYPES = {".mp4": "video/mp4", ".webm": "video/webm"}
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_OWN = ("index.html", "demo.css", "demo.js")
_SHARED = ("page.css", "attention.css", "attention.js")  # with the page of `videobert attention`
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_QUESTIONS = ("search", "film", "captions", "steps", "blanks", "attention")


class _Arriving(io.RawIOBase):
    """What a connection sends, until a deadline for all of it: a limit on silence would let a
    client that sends a byte now and then hold the connection forever."""

    def __init__(self, connection: socket.socket):
        self._connection = connection
        self.allow(_ARRIVING)

    def allow(self, seconds: float | int) -> None:
        """So many seconds from now."""
        self._deadline = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Raises TimeoutError at the deadline."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request took too long to arrive")
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class Server(http.server.ThreadingHTTPServer):
    """Serves one Service. port 0 takes a free one; `address` is where the page is."""

    daemon_threads = True

    def __init__(self, service: Service, host: str = LOOPBACK[0], port: int = 0):
        """Raises OSError where the port is taken or the host is none of this machine."""
        if ":" in host:
            self.address_family = socket.AF_INET6
        self.service = service
        own = importlib.resources.files("videobert_jax.demo") / "static"
        files = {name: (own / name).read_text("utf-8") for name in _OWN}
        files |= {name: attention_page.static(name) for name in _SHARED}
        self.static = {
            "/" if name == "index.html" else f"/{name}": (
                text.encode(),
                f"{_TYPES[name.rpartition('.')[2]]}; charset=utf-8",
            )
            for name, text in files.items()
        }
        self._free = threading.BoundedSemaphore(_CONNECTIONS)
        self._refusing = threading.BoundedSemaphore(_REFUSALS)
        super().__init__((host, port), Handler)
        # By another name a page of elsewhere could ask through the browser (DNS rebinding).
        self.names = set(LOOPBACK) if host in LOOPBACK else None

    @property
    def address(self) -> str:
        host, port = self.server_address[:2]
        return f"http://[{host}]:{port}/" if ":" in str(host) else f"http://{host}:{port}/"

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        elif self._refusing.acquire(blocking=False):
            threading.Thread(target=self._refuse, args=(request,), daemon=True).start()
        else:
            self.shutdown_request(request)

    def _refuse(self, request: socket.socket) -> None:
        """Tells one connection too many so, whatever it asks."""
        status = HTTPStatus.SERVICE_UNAVAILABLE
        full = f"{_CONNECTIONS} connections are open already; ask again in a moment."
        body = json.dumps({"error": full}).encode()
        about = {**_HEADERS, "Content-Type": _JSON, "Content-Length": len(body)}
        lines = [f"HTTP/1.1 {status} {status.phrase}", *(f"{k}: {v}" for k, v in about.items())]
        try:
            request.settimeout(_DRAIN)
            request.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode() + body)
            _drain(request)
        except OSError:
            pass  # the client has gone
        finally:
            self.shutdown_request(request)
            self._refusing.release()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no fault; others are told in full on stderr."""
        if not isinstance(sys.exception(), OSError):
            traceback.print_exc()


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection, one request: what follows a refused body is never read as a request."""

    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "videobert", ""
    timeout = _STALLING

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self._arriving = _Arriving(self.connection)
        self.rfile = io.BufferedReader(self._arriving)

    def log_message(self, format: str, *words: Any) -> None:  # noqa: A002 - the library's name
        """Says nothing: what clients send is not for the terminal."""

    def do_GET(self) -> None:  # noqa: N802 - the library's name
        self._answered(self._get)

    def do_POST(self) -> None:  # noqa: N802
        self._answered(self._post)

    def _answered(self, answer: Any) -> None:
        try:
            self._require_own_page()
            answer()
        except Refusal as error:
            self._refuse(error.status, str(error))
        except MissingExtra as error:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        except OSError:
            self.close_connection = True  # the client has gone
        except ValueError as error:
            if not type(error).__module__.startswith("videobert_jax"):
                self._fault()
            else:
                self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except Exception:
            self._fault()

    def _fault(self) -> None:
        traceback.print_exc()
        self._refuse(
            HTTPStatus.INTERNAL_SERVER_ERROR, "a fault of this program; its terminal says more."
        )

    def _require_own_page(self) -> None:
        """Raises Refusal on requests that pages of elsewhere make through the browser."""
        host = self.headers.get("Host", "")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if self.server.names is not None and name.strip("[]") not in self.server.names:
            raise Refusal(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"the page was asked for as {host[:80]!r}; open {self.server.address}",
            )
        origin = self.headers.get("Origin")
        if origin is not None and origin != f"http://{host}":
            raise Refusal(
                HTTPStatus.FORBIDDEN,
                f"a page of {origin[:80]} asked; open {self.server.address} itself.",
            )

    def _get(self) -> None:
        path = self.path.partition("?")[0]
        if path in self.server.static:
            self._send(HTTPStatus.OK, *self.server.static[path])
        elif path == "/about":
            self._send_json(HTTPStatus.OK, self.server.service.about())
        elif path == "/favicon.ico":
            self._send(HTTPStatus.NO_CONTENT, b"", "image/x-icon")
        elif match := re.fullmatch(r"/films/(\w{1,40})", path, re.ASCII):
            self._send_film(match[1])
        elif match := re.fullmatch(r"/stills/(\w{1,40})/(\d{1,6}(?:\.\d{1,3})?)", path, re.ASCII):
            still = self.server.service.films.still(match[1], float(match[2]))
            self._send(HTTPStatus.OK, still, "image/jpeg")
        else:
            raise unknown(f"nothing is at this address; the page is {self.server.address}")

    def _post(self) -> None:
        path = self.path.removeprefix("/")
        length = self._length()
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if path == "uploads":
            self._require_kind(kind, "video/mp4", "video/quicktime")
            service = self.server.service
            self._arriving.allow(service.limits.transfer_seconds)
            told = service.upload(self.rfile, length, self._still_there)  # pyright: ignore[reportArgumentType]
            self._send_json(HTTPStatus.OK, told)
        elif path in _QUESTIONS:
            self._require_kind(kind, _JSON)
            asked = self._read_json(length)
            self._send_json(HTTPStatus.OK, getattr(self.server.service, path)(asked))
        else:
            raise unknown(f"nothing is asked at this address; the page is {self.server.address}")

    def _still_there(self) -> bool:
        """Whether the client still waits for an answer to all that it has sent."""
        try:
            readable, _, _ = select.select([self.connection], [], [], 0)
            return not readable or self.connection.recv(1, socket.MSG_PEEK) != b""
        except OSError:
            return False

    def _length(self) -> int:
        given = self.headers.get_all("Content-Length", [])
        if len(given) != 1 or not re.fullmatch(r"\d{1,18}", given[0], re.ASCII):
            raise Refusal(HTTPStatus.LENGTH_REQUIRED, "expected one Content-Length, in bytes.")
        if self.headers.get("Transfer-Encoding") is not None:
            raise Refusal(HTTPStatus.LENGTH_REQUIRED, "expected a body of a length said before.")
        if not int(given[0]):
            raise bad("the body is empty.")
        return int(given[0])

    def _require_kind(self, kind: str, *wanted: str) -> None:
        if kind not in wanted:
            raise Refusal(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                f"the body is {kind[:80] or 'of no type'!r}; expected {' or '.join(wanted)}.",
            )

    def _read_json(self, length: int) -> dict[str, Any]:
        if length > _MOST_JSON:
            raise Refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the question has {length:,} bytes; expected {_MOST_JSON:,} at most.",
            )
        try:
            body = self.rfile.read(length)
        except TimeoutError:
            raise Refusal(
                HTTPStatus.REQUEST_TIMEOUT,
                f"the question took longer than {_ARRIVING:g} s to arrive; ask it again.",
            ) from None
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError):
            raise bad("the question is not JSON.") from None
        if not isinstance(asked, dict):
            raise bad("the question is not a JSON object.")
        return asked

    def _send_film(self, name: str) -> None:
        path = self.server.service.films.file(name)
        size = path.stat().st_size
        asked = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", self.headers.get("Range", ""))
        start, stop = 0, size
        if asked and asked[1]:
            start = int(asked[1])
            stop = min(int(asked[2]) + 1, size) if asked[2] else size
        elif asked and asked[2]:
            start = max(size - int(asked[2]), 0)
        if start >= stop:
            raise Refusal(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, f"the film has {size} bytes.")
        self._begin(
            HTTPStatus.PARTIAL_CONTENT if asked else HTTPStatus.OK,
            _VIDEO_TYPES[path.suffix],
            stop - start,
            {"Accept-Ranges": "bytes"}
            | ({"Content-Range": f"bytes {start}-{stop - 1}/{size}"} if asked else {}),
        )
        end = time.monotonic() + _SENDING
        with path.open("rb") as file:
            file.seek(start)
            while (
                start < stop
                and time.monotonic() < end
                and (chunk := file.read(min(_CHUNK, stop - start)))
            ):
                self.wfile.write(chunk)
                start += len(chunk)

    def _send_json(self, status: HTTPStatus, value: Any) -> None:
        self._send(status, json.dumps(value, allow_nan=False).encode(), _JSON)

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self._begin(status, kind, len(body), {})
        self.wfile.write(body)

    def _begin(self, status: HTTPStatus, kind: str, size: int, more: dict[str, str]) -> None:
        self.connection.settimeout(_STALLING)
        self.send_response(status)
        for name, value in {**_HEADERS, **more}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        self.send_header("Connection", "close")
        self.end_headers()

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        self.close_connection = True
        try:
            self._send_json(status, {"error": text})
            self.wfile.flush()
            _drain(self.connection)
        except OSError:
            pass  # the client has gone


def _drain(connection: socket.socket) -> None:
    """Reads on for a while behind an answer that refuses: a client that is still sending would
    otherwise see a broken connection instead of the answer."""
    connection.shutdown(socket.SHUT_WR)
    connection.settimeout(_DRAIN)
    end = time.monotonic() + _DRAIN
    while time.monotonic() < end and connection.recv(_CHUNK):
        pass
