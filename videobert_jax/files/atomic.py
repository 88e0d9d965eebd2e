"""Writes that leave either the whole new file or the old one, whenever the process ends."""

import json
import os
import pathlib
from typing import Any


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """A file of `content`: written beside `path`, flushed to the disk, then renamed onto it."""
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """A UTF-8 file of `text`, atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike, value: Any, *, indent: int | None = 1) -> None:
    """A JSON file of `value`, keys in their order, atomically.

    Raises ValueError on NaN or infinity, which JSON has no word for.
    """
    write_text(path, json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False) + "\n")
