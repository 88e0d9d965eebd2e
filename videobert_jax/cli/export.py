"""`videobert export --checkpoint WORKDIR[@STEP] --output DIR`: a folder that `videobert_jax.load`
reads, and that needs nothing of the run: weights, tokenizer, statistics, contract, model card; with
`--format` the encoders too, as programs that need nothing of this package."""

import argparse
import fnmatch
from typing import TYPE_CHECKING

from videobert_jax.cli import model_options
from videobert_jax.files import storage

if TYPE_CHECKING:
    from videobert_jax.export import model_card

HELP = "write a checkpoint as safetensors, ready for videobert_jax.load; as StableHLO; as ONNX"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint", required=True, help="WORKDIR for its newest verified step, or WORKDIR@STEP"
    )
    parser.add_argument("--output", required=True, help="folder to write, or gs://BUCKET/FOLDER")
    parser.add_argument(
        "--format",
        default="safetensors",
        help="one or several of safetensors, stablehlo, onnx, with commas between them; the latter "
        "two add the encoders as programs, which read the weights of the first",
    )
    model_options.add_weights_argument(parser)
    parser.add_argument(
        "--force", action="store_true", help="replace another export that --output holds"
    )


def run(arguments: argparse.Namespace) -> int:
    """0 when the export is there. Raises CheckpointError, ExportError and MissingExtra."""
    from videobert_jax.export import formats, model_card, safetensors
    from videobert_jax.training import hardware

    wanted = formats.parse(arguments.format)
    formats.require(wanted)
    from videobert_jax.training import (
        checkpoint_bundle,
    )  # what a format lacks is said before its orbax

    hardware.keep_to_host()
    output = storage.path(arguments.output)
    bundle = checkpoint_bundle.load(arguments.checkpoint, arguments.weights)
    card = model_card.text(bundle, _results(arguments.checkpoint, bundle.digest))
    written = safetensors.save_bundle(
        bundle, output, force=arguments.force, formats=wanted, card=card
    )
    what = f"{bundle.name} step {bundle.step} ({bundle.weights} weights)"
    if written:
        size = sum(storage.size(output / name) for name in written) / 1e6
        print(f"{what} exported to {output}: {', '.join(written)} ({size:.1f} MB)")
    else:
        print(f"{output} holds {what} already")
    file = output / model_card.CARD_FILE
    if model_card.CARD_FILE not in written and file.read_text(encoding="utf-8") != card:
        print(f"{file} is kept as it is; --force writes it anew")
    print(f'use it with: videobert_jax.load("{output}")')
    return 0


def _results(name: str, digest: str) -> "list[model_card.Result]":
    """What the run's records say of the checkpoint of this digest, by task and split."""
    from videobert_jax.cli import summarize
    from videobert_jax.export import model_card
    from videobert_jax.tasks import report
    from videobert_jax.training import checkpoint_name

    folder = storage.path(checkpoint_name.split(name)[0]) / "eval"
    records = [report.read(path) for path in sorted(folder.glob("*.json"))]
    found = []
    for record in records:
        if record.get("checkpoint", {}).get("digest") != digest:
            continue
        shown = summarize.METRICS.get(record["task"], ("*",))
        metrics = {
            metric: value
            for metric, value in record["metrics"].items()
            if any(fnmatch.fnmatchcase(metric, pattern) for pattern in shown)
        }
        found.append(
            model_card.Result(
                task=record["task"],
                dataset=record["dataset"]["name"],
                split=record["dataset"]["split"],
                setting=record["setting"],
                num_examples=record["dataset"]["num_evaluated"],
                metrics=metrics,
                table=report.table(record, metrics=shown),
            )
        )
    return found
