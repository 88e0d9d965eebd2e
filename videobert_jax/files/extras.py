"""Optional dependencies: imported when needed, with the line that installs them when absent."""

import importlib
import types


class MissingExtra(ValueError):
    """A command needs a package that a plain installation does not bring."""


def require(module: str, extra: str) -> types.ModuleType:
    """The imported module. Raises MissingExtra with the install line where it is absent."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or module.split(".")[0] != error.name.split(".")[0]:
            raise
        raise MissingExtra(
            f"this needs the package that provides `{module}`, which is not installed; "
            f'install it with: pip install "videobert-jax[{extra}]"'
        ) from error
