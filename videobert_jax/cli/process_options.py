"""How a command that several processes run together is told of the others."""

import argparse


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--coordinator", help="HOST:PORT of process 0, with several processes")
    parser.add_argument("--num_processes", type=int)
    parser.add_argument("--process_id", type=int, help="0 to num_processes - 1")


def of(arguments: argparse.Namespace) -> tuple[str | None, int | None, int | None]:
    """What `hardware.start` takes, where `add` has added it."""
    return arguments.coordinator, arguments.num_processes, arguments.process_id
