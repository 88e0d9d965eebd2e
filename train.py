"""Trains a model, or continues: `python train.py --config=configs/kitchen.py --workdir=DIR`.

Any setting of configs/base.py is a flag: `--config.optimizer.learning_rate=3e-4`.
"""

import argparse
import time

from videobert_jax.cli import failures, process_options


def main() -> int:
    """Exit code: 0 when finished, 75 when stopped after saving, 2 after an error in the input."""
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
    from videobert_jax.files import stopping, storage
    from videobert_jax.tasks import evaluators
    from videobert_jax.training import hardware, loop, peers, preemption

    config = configuration.load_file(arguments.config)
    for key, text in settings:
        configuration.apply_override(config, key, text)
    parsed = configuration.parse(config)
    tasks = parsed.training.eval_tasks
    evaluators.require_known(tasks, evaluate.known_tasks(tasks))
    with preemption.StopSignal() as signal:
        workdir = storage.path(arguments.workdir)
        devices = hardware.start(
            parsed.platform,
            *process_options.of(arguments),
            deterministic_in=workdir if parsed.deterministic else None,
        )
        signal.join(peers.open_group())
        print(devices, flush=True)
        periodic = []
        if parsed.training.eval_every:
            measure = evaluate.evaluate_by_default
            periodic = evaluators.periodic(parsed, tasks, measure)
        result = loop.train(
            parsed,
            configuration.to_json(config),
            arguments.workdir,
            evaluators=periodic,
            load_bundle=loading.load_bundle,
            signal=signal,
            allow_change=[
                name for part in arguments.allow_change.split(",") if (name := part.strip())
            ],
            began=began,
        )
    return 0 if result.finished else stopping.STOPPED


if __name__ == "__main__":
    failures.leave(main())
