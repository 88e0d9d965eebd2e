"""The file that a command writes at its end: whether it can be is found out before the work."""

import argparse
import os
import pathlib


def path(text: str) -> pathlib.Path:
    """Of an option: a file to write, whose folder is made where there is none.

    Raises ArgumentTypeError where it is a folder, or where nothing can be written.
    """
    found = pathlib.Path(text)
    if found.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder; name a file in it")
    try:
        found.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"{text}: its folder cannot be made ({error.strerror}); name a file elsewhere"
        ) from error
    if not os.access(found.parent, os.W_OK):
        raise argparse.ArgumentTypeError(
            f"{text}: nothing can be written to {found.parent}; name a file elsewhere"
        )
    return found
