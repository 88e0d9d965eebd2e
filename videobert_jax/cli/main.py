"""`videobert COMMAND`: a command is a module here with HELP, add_arguments and run.

Where it has TAKES_SETTINGS, `--config.KEY=VALUE` arguments arrive in `arguments.settings` as
(key, text) pairs.
"""

import argparse
import importlib
import sys
import types
from collections.abc import Sequence
from typing import NoReturn

import videobert_jax
from videobert_jax.cli import failures

COMMANDS = (
    "prepare",
    "extract",
    "import-features",
    "transcripts",
    "verify",
    "render",
    "fit-visual-words",
    "fit-packing",
    "content-words",
    "label-lists",
    "cluster-videos",
    "align",
    "encode",
    "evaluate",
    "summarize",
    "compare",
    "average",
    "report",
    "index",
    "search",
    "embed",
    "caption",
    "answer",
    "localize",
    "fill-mask",
    "attention",
    "demonstrate",
    "demo",
    "export",
    "plan",
    "replay",
    "doctor",
    "reproduce",
)


def program() -> NoReturn:
    """The console script."""
    failures.leave(main())


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return failures.exit_code(lambda: _run(given))


def _run(given: list[str]) -> int:
    # A command named first is the only one imported: others bring jax, or need extras.
    names = given[:1] if given and given[0] in COMMANDS else COMMANDS
    parser = argparse.ArgumentParser(
        prog="videobert",
        description="VideoBERT in JAX. Training is train.py of a clone of the repository, whose "
        "configs/ it needs; `videobert COMMAND --help` says more.",
    )
    parser.add_argument(
        "--version", action="version", version=f"videobert-jax {videobert_jax.__version__}"
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in names:
        module = _module(name)
        subparser = subparsers.add_parser(
            name,
            help=module.HELP,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(subparser)
    parsed, rest = parser.parse_known_args(given)
    command = _module(parsed.command)
    parsed.settings = [
        (key.removeprefix("--config."), text)
        for key, equals, text in (argument.partition("=") for argument in rest)
        if equals and key.startswith("--config.")
    ]
    if len(parsed.settings) < len(rest) or (rest and not hasattr(command, "TAKES_SETTINGS")):
        parser.error(f"unknown arguments: {' '.join(rest)}")
    return command.run(parsed)


def _module(name: str) -> types.ModuleType:
    return importlib.import_module(f"videobert_jax.cli.{name.replace('-', '_')}")
