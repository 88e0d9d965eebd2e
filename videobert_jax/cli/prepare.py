"""`videobert prepare NAME --output DIR`: a dataset on disk from a source of input."""

import argparse
import importlib
import pathlib
import sys
import time
import types

from videobert_jax.data import index

HELP = "write a dataset: clip features, caption index, contract, digests"
DATASETS = {
    "kitchen": "videobert_jax.kitchen.dataset",
    "youcook2_keyframes": "videobert_jax.data.datasets.youcook2_keyframes",
    "activitynet_sample": "videobert_jax.data.datasets.activitynet_sample",
}
_EMBEDDED = ("kitchen",)  # made from what the package brings, without a source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", choices=sorted(DATASETS), help="which dataset")
    parser.add_argument(
        "--source", type=pathlib.Path, help="folder with the source files (not for kitchen)"
    )
    parser.add_argument("--output", type=pathlib.Path, required=True, help="folder to write")


def run(arguments: argparse.Namespace) -> int:
    """0 when the dataset is complete, also where it was before. Raises DatasetError."""
    name, output = arguments.name, arguments.output
    if (output / index.DATASET_FILE).is_file():
        dataset = index.open_dataset(output)
        if dataset.name != name:
            raise index.DatasetError(
                f"{output}: holds the dataset {dataset.name}, expected {name} or nothing; give "
                "another --output"
            )
        print(f"{output} is complete already; nothing to do")
    else:
        started = time.monotonic()
        try:
            module = importlib.import_module(DATASETS[name])
            dataset = _prepare(module, name, arguments.source, output)
        except KeyboardInterrupt:
            if (output / "partial").is_dir():
                text = "finished parts are kept: the same command goes on from there"
                print(f"{output}: {text}", file=sys.stderr)
            raise
        print(f"{output} written in {time.monotonic() - started:.1f} s")
    for split in dataset.splits.values():
        print(
            f"  {split.name}: {len(split):,} examples, {len(split.videos):,} videos, "
            f"{int(split.num_clips.sum()):,} clip features"
        )
    print(f"  {dataset.name}, digest {dataset.digest}")
    return 0


def _prepare(
    module: types.ModuleType, name: str, source: pathlib.Path | None, output: pathlib.Path
) -> index.Dataset:
    if name not in _EMBEDDED:
        return module.prepare(source, output)
    if source is not None:
        raise index.DatasetError(
            f"--source={source}: {name} is made from what the package brings; leave --source out"
        )
    return module.prepare(output)
