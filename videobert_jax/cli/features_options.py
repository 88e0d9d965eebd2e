"""Options of the commands that read other people's features."""

import argparse
import functools
import pathlib
from collections.abc import Callable

from videobert_jax.data import importers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What every command says about a source of features."""
    parser.add_argument("--features", type=pathlib.Path, help="file or folder of clip features")
    parser.add_argument("--layout", choices=sorted(importers.LAYOUTS), help="how they are laid out")
    parser.add_argument("--dim", type=int, help="of a vector, where nothing says it")
    parser.add_argument("--stride", type=float, help="seconds between clips")
    parser.add_argument(
        "--normalised", choices=["true", "false"], help="whether vectors have norm 1"
    )
    parser.add_argument("--part", help="of vectors that join several networks' (crosstask)")
    parser.add_argument(
        "--assert-contract",
        metavar="FIELD=VALUE[,FIELD=VALUE]",
        default="",
        help="what you vouch for of how they were made; results then say so",
    )


def source_opener(arguments: argparse.Namespace) -> Callable[[], importers.FeatureSource]:
    """What opens the source that the arguments name, here or in other processes.

    It raises FeatureError, and so does this on arguments that name none.
    """
    if arguments.features is None or arguments.layout is None:
        raise importers.FeatureError(
            "expected --features PATH and --layout "
            f"{'|'.join(sorted(importers.LAYOUTS))}, which say where clip features are"
        )
    asserted = {}
    for pair in filter(None, arguments.assert_contract.split(",")):
        name, equals, value = pair.partition("=")
        if not equals:
            raise importers.FeatureError(f"--assert-contract: {pair!r}, expected FIELD=VALUE")
        asserted[name.strip()] = value.strip()
    normalised = {None: None, "true": True, "false": False}[arguments.normalised]
    return functools.partial(
        importers.open_source,
        arguments.layout,
        arguments.features.absolute(),
        importers.Settings(arguments.dim, arguments.stride, normalised, arguments.part, asserted),
    )
