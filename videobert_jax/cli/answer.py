"""`videobert answer FILE... --checkpoint WORKDIR|EXPORT --question TEXT [--choice TEXT ...]`.

The answer to a question about each video: of the choices the one that the matching head finds to
fit best, behind the question; without choices one of those that the network's answer head knows.
"""

import argparse
import json

from videobert_jax.cli import model_options

HELP = "answer a question about videos"
MOST = 5  # answers of a line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    model_options.add_arguments(parser)
    parser.add_argument("--question", required=True, help="about each of the videos")
    parser.add_argument(
        "--choice", action="append", metavar="TEXT", help="an answer to choose from; say several"
    )
    model_options.add_truncate(parser)


def run(arguments: argparse.Namespace) -> int:
    """0 when the answers are printed. Raises what model and files do."""
    with model_options.opened(arguments) as model:
        for file in arguments.files:
            (told,) = model.answer(
                file, arguments.question, arguments.choice, truncate=arguments.truncate
            )
            if arguments.json:
                of_all = told.probabilities
                print(json.dumps({"file": file, "answer": told.text, "probabilities": of_all}))
                continue
            best = list(told.probabilities.items())[:MOST]
            print(f"{file}: " + ", ".join(f"{text} {share:.2f}" for text, share in best))
    return 0
