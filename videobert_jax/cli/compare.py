"""`videobert compare A.json B.json`: two results of eval.py, figure by figure, with a paired test.

videobert compare runs/a/eval/retrieval.json runs/b/eval/retrieval.json

Examples are matched by id in A.examples.jsonl and B.examples.jsonl, beside the records.
"""

import argparse

from videobert_jax.cli import result_files
from videobert_jax.files import storage
from videobert_jax.tasks import comparison

HELP = "compare two results of one protocol, with paired intervals and a paired test"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", help="A.json, a record of eval.py")
    parser.add_argument("second", help="B.json, of the same task, protocol and split")
    parser.add_argument(
        "--intersection",
        action="store_true",
        help="compare the examples that both have, where one has others than the other",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap and the test")
    parser.add_argument("--json", help="file to write the comparison to")


def run(arguments: argparse.Namespace) -> int:
    """Prints the comparison, and writes it where asked. Raises EvaluationError where it is none."""
    paths = [storage.path(name) for name in (arguments.first, arguments.second)]
    for path in paths:
        storage.require_readable(path)
    first, second = map(comparison.Result.read, paths)
    found = comparison.compare(
        first, second, intersection=arguments.intersection, seed=arguments.seed
    )
    data, examples = found["dataset"], found["examples"]
    print(f"{found['task']} on {data['name']}/{data['split']}")
    for side, of in (("first", first), ("second", second)):
        print(f"{side:<6}  {of.file} ({len(of.lines)} examples)")
    chosen = "the intersection of the examples: " if arguments.intersection else ""
    print(
        f"{chosen}{examples['num_compared']} examples of {examples['num_videos']} videos, "
        f"seed {arguments.seed}\n\n{comparison.table(found)}\n"
    )
    print("\n".join([*found["notes"], found["method"]]))
    if arguments.json is not None:
        result_files.write_json(arguments.json, found)
    return 0
