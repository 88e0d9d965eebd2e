"""Whether a dataset that is there already is the one that `videobert prepare` is asked for."""

import argparse
import pathlib
from collections.abc import Sequence

from videobert_jax.data import index


def option(name: str) -> str:
    """How the command line says an argument."""
    return "--" + name.replace("_", "-")


def asked(arguments: argparse.Namespace, options: Sequence[str]) -> dict[str, str]:
    """Those of the options that are given; of files their names, for they may be moved."""
    found = {}
    for name in options:
        value = getattr(arguments, name)
        if value is not None and value is not False and value != []:
            values = value if isinstance(value, list) else [value]
            found[name] = ",".join(getattr(one, "name", str(one)) for one in values)
    return found


def require_alike(
    output: pathlib.Path,
    dataset: index.Dataset,
    arguments: argparse.Namespace,
    options: Sequence[str],
) -> None:
    """Raises DatasetError where the dataset at `output` was made with other options; one of
    before these were kept is taken as it is."""
    made, wanted = dataset.metadata.get(index.ASKED), asked(arguments, options)
    if made is None or made == wanted:
        return
    differing = sorted(name for name in {*made, *wanted} if made.get(name) != wanted.get(name))
    found, expected = (
        ", ".join(f"{option(name)} {of.get(name, '(not given)')}" for name in differing)
        for of in (made, wanted)
    )
    raise index.DatasetError(
        f"{output}: holds {dataset.name} made with {found}, asked for is {expected}; give another "
        "--output, or remove the folder"
    )
