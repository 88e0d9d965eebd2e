"""What is said of a file that a newer version of this program has written."""

from typing import Any


def newer(found: Any, known: int) -> str | None:
    """The remedy where a file's version of its format is newer than the one known; None elsewhere,
    where the file's own remedy holds."""
    if type(found) is not int or found <= known:
        return None
    return (
        f"it was written by a newer videobert-jax, and this one reads up to version {known} of the "
        "format: install a newer videobert-jax"
    )


def refusal(found: Any, known: int, called: str = "format") -> str:
    """Why a file of a workdir is refused that another version wrote, and the remedy."""
    return (
        f"of {called} {found!r}, this version of the program reads up to {known}: it was written "
        "by a newer one. Install that, or use another --workdir."
    )
