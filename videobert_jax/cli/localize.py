"""`videobert localize FILE... --checkpoint WORKDIR|EXPORT --step TEXT --step TEXT ...`.

When each step is done in each video: every step once, in the order given, at the seconds that score
most together (CrossTask's protocol), or with --unordered each at its own best second.
"""

import argparse
import json
import pathlib

from videobert_jax.cli import model_options

HELP = "find when steps are done in videos"


class StepsError(ValueError):
    """No steps to look for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    model_options.add_arguments(parser)
    parser.add_argument(
        "--step", action="append", default=[], metavar="TEXT", help="what is done; say several"
    )
    parser.add_argument("--steps", type=pathlib.Path, metavar="FILE", help="a step a line, instead")
    parser.add_argument(
        "--unordered", action="store_true", help="each step by itself, at its best second"
    )
    model_options.add_truncate(parser)


def run(arguments: argparse.Namespace) -> int:
    """0 when the seconds are printed. Raises StepsError, and what model and files do."""
    steps = _steps(arguments)
    with model_options.opened(arguments) as model:
        for file in arguments.files:
            (found,) = model.localize(
                file, steps, ordered=not arguments.unordered, truncate=arguments.truncate
            )
            rows = [
                {"step": step, "second": second, "cosine": round(score, 4)}
                for step, second, score in zip(
                    steps, found.seconds.tolist(), found.scores.tolist(), strict=True
                )
            ]
            if arguments.json:
                print(json.dumps({"file": file, "steps": rows}))
                continue
            print(file)
            for row in rows:
                minutes, seconds = divmod(row["second"], 60)
                print(f"  {minutes:3d}:{seconds:02d}  {row['cosine']:5.2f}  {row['step']}")
    return 0


def _steps(arguments: argparse.Namespace) -> list[str]:
    if arguments.steps is None:
        steps = arguments.step
    elif arguments.step:
        raise StepsError("--step and --steps; expected one of them.")
    else:
        try:
            lines = arguments.steps.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise StepsError(f"{arguments.steps}: cannot be read as text ({error}).") from error
        steps = [line.strip() for line in lines if line.strip()]
    if not steps:
        raise StepsError("no steps to look for; say --step=TEXT once or more, or --steps=FILE.")
    return steps
