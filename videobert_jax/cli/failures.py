"""How a command ends when something is wrong with its input: one line, and an exit code."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

from videobert_jax.files import extras, stopping

BAD_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
_OURS = ("videobert_jax", "benchmarks", "__main__")  # where our errors are defined


def exit_code(command: Callable[[], int]) -> int:
    """What `command` gives; 2 after printing an error of this package, 130 after Ctrl-C, 75 after
    SIGTERM.

    Errors of this package (ConfigError, DatasetError, MissingExtra, ...) say what was found, what
    was expected and the remedy, so a traceback would only hide them; so do modules of the extra
    `train` that a light installation lacks. Any other exception is a fault in the program and
    keeps its traceback.
    """
    try:
        with _stopped_by_sigterm():
            return command()
    except stopping.Stopped:
        print("SIGTERM: stopped; the same command does it anew", file=sys.stderr)
        return stopping.STOPPED
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return INTERRUPTED
    except ValueError as error:
        if type(error).__module__.split(".")[0] not in _OURS:
            raise
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except ModuleNotFoundError as error:
        if (missing := extras.of_training(error)) is None:
            raise
        print(f"error: {missing}", file=sys.stderr)
        return BAD_INPUT


def leave(code: int) -> NoReturn:
    """Ends the program with a code that SIGTERM changes no more, for all that it would stop is
    done: Python, and what processes have open between them, take up to a second to end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(code)


@contextlib.contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """SIGTERM raises Stopped, so that what was half written is removed on the way out."""
    if threading.current_thread() is not threading.main_thread():
        yield  # where no handlers can be set
        return
    process = os.getpid()

    def stop(*_: object) -> None:
        if os.getpid() == process:
            raise stopping.Stopped
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a fork ends as if there were no handler
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
