"""The one error of files that cannot be read, and what damage raises underneath."""

import contextlib
import csv
import errno
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator


class ArrayFileError(ValueError):
    """A file that is damaged, or that holds what must not be read. Says which, and the remedy."""


# What the standard library and NumPy raise on bytes that are not what they seem. A file that
# cannot be opened (OSError) is not among them: it says nothing about what the file holds.
DAMAGE = (
    ArithmeticError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    RecursionError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


@contextlib.contextmanager
def reading(name: str, kind: str) -> Iterator[None]:
    """A context in which what damage raises becomes an ArrayFileError.

    Args:
        name: Of the file, and of the part of it; every message begins with it.
        kind: What the file was expected to be, with its article: "a .npy file".
    """
    try:
        yield
    except ArrayFileError as error:
        if str(error).startswith(name):
            raise
        raise ArrayFileError(f"{name}: {error}") from error
    except (*DAMAGE, OSError) as error:
        # A seek to before the file's start, which zipfile tries where a directory lies.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise ArrayFileError(
            f"{name}: not {kind} that can be read ({type(error).__name__}: {error}); "
            "fetch or prepare it anew"
        ) from error


# What readers of values (JSON, tables) run into where those have another form than the format's.
_OTHER_FORM = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    csv.Error,
)


@contextlib.contextmanager
def of_form(
    source: str | os.PathLike, kind: type[ValueError], remedy: str = "fetch it anew"
) -> Iterator[None]:
    """A context in which a file's content of another form than is read becomes an error of `kind`.

    Errors of this package stay what they are; all of them name `source`, the file or folder.
    """
    try:
        yield
    except _OTHER_FORM as error:
        ours = type(error).__module__.partition(".")[0] == kind.__module__.partition(".")[0]
        if not ours:
            found = f"{type(error).__name__}: {str(error):.200}"
            raise kind(f"{source}: not of the form that is expected ({found}); {remedy}") from error
        if os.path.basename(os.fspath(source)) in str(error):
            raise
        raise type(error)(f"{source}: {error}") from error
