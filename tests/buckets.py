"""An emulated bucket on this machine, for tests and drills that need no cloud.

gcp-storage-emulator answers requests, but knows no preconditions, says no generation of what is
read, and lets everybody in; that is added here. Processes find it by the variables of
`environment`.
"""

import contextlib
import http
import logging
import socket
import urllib.parse
from collections.abc import Iterator
from typing import Any
from unittest import mock

from gcp_storage_emulator import server
from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import objects

BUCKET, CLOSED = "videobert-test", "videobert-closed"


def environment(port: int) -> dict[str, str]:
    """What sends gcsfs, tensorstore and array_record to the emulator."""
    url = f"http://127.0.0.1:{port}"
    return {
        "STORAGE_EMULATOR_HOST": url,
        "TENSORSTORE_GCS_HTTP_URL": url,
        "CLOUD_STORAGE_EMULATOR_ENDPOINT": url,
    }


@contextlib.contextmanager
def emulated() -> Iterator[int]:
    """The port at which BUCKET is open and CLOSED is forbidden; nothing outlives the context."""
    logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    patch = mock.patch.object
    with (
        patch(objects, "_multipart_upload", _conditional(objects._multipart_upload)),
        patch(objects, "_media_upload", _conditional(objects._media_upload)),
        patch(objects, "download", _with_generation(objects.download)),
        patch(server.Router, "handle", _guarded(server.Router.handle)),
        server.create_server("127.0.0.1", port, in_memory=True, default_bucket=BUCKET),
    ):
        yield port


def _conditional(insert: Any) -> Any:
    """`insert` that answers 412 where the object has not the generation of ifGenerationMatch."""

    def handler(request: Any, response: Any, storage: Any) -> None:
        name = request.query["name"][0] if "name" in request.query else request.data["meta"]["name"]
        found = _generation(storage, request.params["bucket_name"], name)
        if request.query.get("ifGenerationMatch", [found]) != [found]:
            response.status = http.HTTPStatus.PRECONDITION_FAILED
        else:
            insert(request, response, storage)

    return handler


def _with_generation(download: Any) -> Any:
    """`download` that says which generation it gives, for a write on condition of it."""

    def handler(request: Any, response: Any, storage: Any, *arguments: Any) -> None:
        download(request, response, storage, *arguments)
        bucket, name = request.params["bucket_name"], request.params["object_id"]
        response["x-goog-generation"] = _generation(storage, bucket, name)

    return handler


def _generation(storage: Any, bucket: str, name: str) -> str:
    with contextlib.suppress(NotFound):
        return storage.get_file_obj(bucket, name)["generation"]
    return "0"


def _guarded(handle: Any) -> Any:
    """`handle` that answers 403 to whatever concerns the bucket CLOSED."""

    def guarded(router: Any, method: str) -> None:
        handler = router._request_handler
        if f"/b/{CLOSED}" not in urllib.parse.unquote(handler.path):
            with contextlib.suppress(BrokenPipeError):  # of one who had read enough
                handle(router, method)
            return
        refuse(handler, http.HTTPStatus.FORBIDDEN)

    return guarded


def refuse(handler: Any, status: int) -> None:
    """Answers a request so, once it is read."""
    handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    text = b'{"error": {"code": %d, "message": "storage.objects denied"}}' % status
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(text)))
    handler.end_headers()
    handler.wfile.write(text)
