"""Optional dependencies: imported when needed, with the line that installs them when absent."""

import importlib
import types

# Modules that only the extra `train` brings: what trains, and what makes and reads datasets,
# imports them plainly.
_TRAIN = frozenset(
    "absl array_record etils fsspec google h5py importlib_resources ml_collections optax orbax "
    "tensorboard tensorflow tensorflow_datasets".split()
)


class MissingExtra(ValueError):
    """A command needs a package that a plain installation does not bring."""


def require(module: str, extra: str) -> types.ModuleType:
    """The imported module. Raises MissingExtra with the install line where it is absent."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or module.split(".")[0] != error.name.split(".")[0]:
            raise
        raise missing(module, extra) from error


def of_training(error: ModuleNotFoundError) -> MissingExtra | None:
    """What to say of a plain import that failed; None where no extra brings the module."""
    name = (error.name or "").split(".")[0]
    return missing(name, "train") if name in _TRAIN else None


def missing(module: str, extra: str) -> MissingExtra:
    """The error that says what is not installed, and the line that installs it."""
    return MissingExtra(
        f"this needs the package that provides `{module}`, which is not installed; "
        f'install it with: pip install "videobert-jax[{extra}]"'
    )
