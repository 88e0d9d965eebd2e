"""Trains a model, or continues: `python train.py --config=configs/kitchen.py --workdir=DIR`.

Any setting of configs/base.py is a flag: `--config.optimizer.learning_rate=3e-4`.
"""

import argparse
import sys
import time

from videobert_jax.cli import process_options


def main() -> int:
    """Exit code: 0 when finished or stopped after saving, 2 after an error in the input."""
    began = time.time()
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--config", required=True, help="a file of configs/")
    parser.add_argument("--workdir", required=True, help="folder of the run, or gs://BUCKET/FOLDER")
    parser.add_argument(
        "--allow-change",
        default="",
        metavar="NAME,NAME",
        help="settings that must match, and dataset, that may differ from the workdir's run",
    )
    process_options.add(parser)
    arguments, rest = parser.parse_known_args()

    from videobert_jax.cli import failures

    return failures.exit_code(lambda: run(arguments, overrides(parser, rest), began))


def overrides(parser: argparse.ArgumentParser, rest: list[str]) -> list[tuple[str, str]]:
    """(key, text) of each --config.KEY=VALUE; anything else is an error of usage."""
    pairs = []
    for argument in rest:
        flag, equals, text = argument.partition("=")
        if not flag.startswith("--config.") or not equals:
            parser.error(f"unknown argument {argument}; settings are --config.KEY=VALUE")
        pairs.append((flag.removeprefix("--config."), text))
    return pairs


def run(arguments: argparse.Namespace, settings: list[tuple[str, str]], began: float) -> int:
    """Settings -> devices -> one library call."""
    from videobert_jax import configuration, loading
    from videobert_jax.cli import evaluate
    from videobert_jax.tasks import evaluators
    from videobert_jax.training import hardware, loop

    config = configuration.load_file(arguments.config)
    for key, text in settings:
        configuration.apply_override(config, key, text)
    parsed = configuration.parse(config)
    tasks = parsed.training.eval_tasks
    evaluators.require_known(tasks, evaluate.known_tasks(tasks))
    print(hardware.start(parsed.platform, *process_options.of(arguments)), flush=True)
    periodic = []
    if parsed.training.eval_every:
        measure = evaluate.evaluate_by_default
        periodic = evaluators.periodic(parsed, tasks, measure)
    as_json = configuration.to_json(config)
    loop.train(
        parsed,
        as_json,
        arguments.workdir,
        evaluators=periodic,
        load_bundle=loading.load_bundle,
        allow_change=[name.strip() for name in arguments.allow_change.split(",") if name.strip()],
        began=began,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
