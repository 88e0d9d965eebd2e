"""Every reader of files that users give: a valid seed of what it reads, and what it may raise.

A file of a kind that is missing here is not fuzzed; `tests/drills/test_reader_fuzz.py` compares the
list with the modules that open files.
"""

import dataclasses
import importlib
import importlib.util
import pathlib
import random
from collections.abc import Callable
from typing import Any

_GROUPS = ("arrays", "annotations", "texts", "datasets", "models", "films")


@dataclasses.dataclass(frozen=True)
class Reader:
    """make: writes a valid seed into an empty folder. read: reads it, or raises one of `errors`,
    which name the file or folder. modules: of the package, that open files in it.

    kept: names of the seed's files that are left whole. named: what an error may say in place of a
    file: the setting, or the video. sign: makes the digests that the seed holds
    those of its damaged files, half of the time, for what lies behind them. packages: without which
    there is no such reader. writes: whether reading writes below the folder. seconds, megabytes:
    that a case may take. refuses_sizes: whether a library of it answers sizes beyond a bound of its
    own as if memory had run out; then that is no fault, and what it takes is measured.
    """

    name: str
    modules: tuple[str, ...]
    make: Callable[[pathlib.Path], Any]
    read: Callable[[pathlib.Path], Any]
    errors: tuple[type[Exception], ...]
    kept: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    sign: Callable[[pathlib.Path, random.Random], None] | None = None
    packages: tuple[str, ...] = ()
    writes: bool = False
    seconds: int = 10
    megabytes: int = 512
    refuses_sizes: bool = False

    @property
    def address_space(self) -> int:
        """Megabytes beyond those taken before, at which a case ends. FFmpeg asks for up to 2 GiB at
        a time and then fills what the file has."""
        return max(self.megabytes, 6144) if self.refuses_sizes else self.megabytes

    @property
    def missing(self) -> list[str]:
        """Packages that it needs and that are not installed."""
        return [name for name in self.packages if importlib.util.find_spec(name) is None]


def group(name: str) -> list[Reader]:
    """Readers of one module here, which is imported by it."""
    return importlib.import_module(f"tests.drills.readers.{name}").READERS


def everyone() -> dict[str, Reader]:
    """All readers by name, in the order of the groups."""
    return {reader.name: reader for name in _GROUPS for reader in group(name)}
