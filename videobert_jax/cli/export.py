"""`videobert export --checkpoint WORKDIR[@STEP] --output DIR`: a folder that `videobert_jax.load`
reads, and that needs nothing of the run: weights, tokenizer, statistics, contract."""

import argparse

from videobert_jax.files import storage
from videobert_jax.models.config import WEIGHTS

HELP = "write a checkpoint as safetensors, ready for videobert_jax.load"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint", required=True, help="WORKDIR for its newest verified step, or WORKDIR@STEP"
    )
    parser.add_argument("--output", required=True, help="folder to write, or gs://BUCKET/FOLDER")
    parser.add_argument(
        "--weights",
        choices=WEIGHTS,
        help="ema: the moving average of a run with optimizer.ema_decay, default where there is "
        "one; raw: the weights as they are",
    )
    parser.add_argument(
        "--force", action="store_true", help="replace another export that --output holds"
    )


def run(arguments: argparse.Namespace) -> int:
    """0 when the export is there. Raises CheckpointError and ExportError."""
    from videobert_jax.export import safetensors
    from videobert_jax.training import checkpoint, hardware

    hardware.keep_to_host()
    output = storage.path(arguments.output)
    bundle = checkpoint.load_bundle(arguments.checkpoint, arguments.weights)
    written = safetensors.save_bundle(bundle, output, force=arguments.force)
    size = sum(storage.size(file) for file in output.iterdir()) / 1e6
    what = f"{bundle.name} step {bundle.step} ({bundle.weights} weights)"
    if written:
        print(f"{what} exported to {output} ({size:.1f} MB)")
    else:
        print(f"{output} holds {what} already")
    print(f'use it with: videobert_jax.load("{output}")')
    return 0
