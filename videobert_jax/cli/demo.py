"""`videobert demo --checkpoint WORKDIR|EXPORT`: what a model knows, in the browser.

Search by a sentence, steps on a time line, words for [MASK], captions, attention: of the embedded
kitchen's films, which are drawn when they are asked for (extra `kitchen`), and of mp4 files that
are uploaded to the page. It is for this machine alone unless --host says otherwise, asks nothing of
the network, and keeps its files in one temporary folder, which is removed when it ends (Ctrl-C).
"""

import argparse
import pathlib
import signal
import sys
import tempfile
import types
from typing import TYPE_CHECKING

from videobert_jax.cli import model_options

if TYPE_CHECKING:
    from videobert_jax.demo.uploads import Limits

HELP = "show in the browser what a trained model understands"


class DemoError(ValueError):
    """A page that cannot be served."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    model_options.add_model_arguments(parser, max_seconds=120.0)
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to serve at; any other than the default lets other machines ask, without a "
        "password",
    )
    parser.add_argument("--port", type=int, default=8707, help="default 8707; 0 takes a free one")
    parser.add_argument(
        "--films",
        type=pathlib.Path,
        metavar="DIR",
        help="folder of `videobert render kitchen`, whose films are then not drawn again",
    )
    parser.add_argument("--max-megabytes", type=int, default=64, help="of an upload; default 64")


def run(arguments: argparse.Namespace) -> int:
    """0 when it was stopped. Raises DemoError, AssetsError and what the loaders raise."""
    from videobert_jax.demo import uploads

    limits = uploads.Limits(megabytes=arguments.max_megabytes, film_seconds=arguments.max_seconds)
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        _serve(arguments, limits)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _serve(arguments: argparse.Namespace, limits: "Limits") -> None:
    """Until it is interrupted."""
    from videobert_jax.demo import films, server, service

    with (
        model_options.opened(arguments) as model,
        tempfile.TemporaryDirectory(prefix="videobert-demo-") as folder,
    ):
        shown = films.Films(films.kitchen(model), pathlib.Path(folder), drawn=arguments.films)
        print(f"reading {len(shown.entries)} films of the kitchen", file=sys.stderr)
        asked = service.Service(model, shown, limits)
        if asked.no_uploads is not None:
            print(asked.no_uploads, file=sys.stderr)
        try:
            served = server.Server(asked, arguments.host, arguments.port)
        except (OSError, OverflowError) as error:
            raise DemoError(
                f"--host={arguments.host} --port={arguments.port}: {error}; give an address of "
                "this machine, and a port that is free (0 takes any)."
            ) from error
        with served:
            print(f"open {served.address} (Ctrl-C ends it)", flush=True)
            try:
                served.serve_forever()
            finally:
                asked.close()


def _stop(number: int, frame: types.FrameType | None) -> None:
    """Ends as Ctrl-C does, so that the folder is removed."""
    raise KeyboardInterrupt
