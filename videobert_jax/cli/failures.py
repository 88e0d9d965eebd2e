"""How a command ends when something is wrong with its input: one line, and an exit code."""

import sys
from collections.abc import Callable

from videobert_jax.files import extras

BAD_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
_OURS = ("videobert_jax", "benchmarks", "__main__")  # where our errors are defined


def exit_code(command: Callable[[], int]) -> int:
    """What `command` gives; 2 after printing an error of this package, 130 after Ctrl-C.

    Errors of this package (ConfigError, DatasetError, MissingExtra, ...) say what was found, what
    was expected and the remedy, so a traceback would only hide them; so do modules of the extra
    `train` that a light installation lacks. Any other exception is a fault in the program and
    keeps its traceback.
    """
    try:
        return command()
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
