"""Modules of other packages by dotted path: where a command or a setting names `package.module`,
that module stands in the place of one of ours and offers the same names (docs/extending.md).

The package is only imported where a user named it; nothing that is read from a dataset, checkpoint
or export does so.
"""

import importlib
import types
from collections.abc import Collection


class ExtensionError(ValueError):
    """A dotted path that is no module, or one without the names that are expected of it."""


def is_path(name: str) -> bool:
    """Whether a name is a dotted path, package.module: ours have no dots."""
    parts = name.split(".")
    return len(parts) > 1 and all(part.isidentifier() for part in parts)


def load(path: str, names: Collection[str], asked: str) -> types.ModuleType:
    """The module at a dotted path, with these names. asked: what named it, such as "--task".

    Raises ExtensionError where it cannot be found or lacks a name. What goes wrong inside the
    module while it is imported is raised as it is, with its own traceback.
    """
    if not is_path(path):
        raise ExtensionError(f"{asked}={path}: expected a dotted path, package.module.")
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise  # another module that this one imports
        raise ExtensionError(
            f"{asked}={path}: there is no module {error.name}; install the package (pip install -e "
            "FOLDER), or name its folder in PYTHONPATH."
        ) from None
    require(module, names, f"{asked}={path}")
    return module


def require(module: types.ModuleType, names: Collection[str], asked: str) -> None:
    """Raises ExtensionError where a module lacks one of these names."""
    if missing := [name for name in names if not hasattr(module, name)]:
        raise ExtensionError(
            f"{asked}: {module.__name__} has no {' and no '.join(missing)}; expected are "
            f"{', '.join(names)} (docs/extending.md)."
        )
