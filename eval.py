"""Measures a checkpoint or an export beside its baselines: `python eval.py --workdir=runs/kitchen`.

Flags, then one library call; everything else is videobert_jax/cli/evaluate.py.
"""

import argparse

from videobert_jax.cli import evaluate, failures


def main() -> int:
    """0, or 2 after one line that says what is wrong."""
    parser = argparse.ArgumentParser(
        description=evaluate.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    evaluate.add_arguments(parser)
    arguments = parser.parse_args()
    return failures.exit_code(lambda: evaluate.run(arguments))


if __name__ == "__main__":
    failures.leave(main())
