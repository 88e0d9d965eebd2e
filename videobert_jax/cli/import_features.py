"""`videobert import-features --layout LAYOUT --features PATH --output DIR`: features as ours.

Writes VIDEO.npy, float16 [clips, dim], a video, and contract.json, which says how they were made;
`prepare` reads that with --layout=npy. Stopped, it goes on where it was. Videos whose features
are refused are named in failures.jsonl, with the reason.
"""

import argparse
import io
import pathlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from videobert_jax.data.importers import FeatureSource

HELP = "turn other people's clip features into a folder of arrays with their contract"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from videobert_jax.cli import features_options

    features_options.add_arguments(parser)
    parser.add_argument("--output", type=pathlib.Path, required=True, help="folder to write")


def run(arguments: argparse.Namespace) -> int:
    """0 when every video was written, 1 where some were refused. Raises FeatureError."""
    from videobert_jax.cli import features_options
    from videobert_jax.data import importers
    from videobert_jax.data.importers.source import stored_contract
    from videobert_jax.files import atomic

    source = features_options.source_opener(arguments)()
    output = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    if (stored := stored_contract(output)) is None:
        atomic.write_json(output / "contract.json", source.contract.to_json())
    elif stored != source.contract:
        raise importers.FeatureError(
            f"{output} holds features of another contract (contract.json); give another --output"
        )
    failures, clips = _write(source, output)
    names = source.names
    print(f"{output}: {len(names) - len(failures):,} of {len(names):,} videos, {clips:,} new clips")
    for field in source.asserted:
        print(f"  {field} is as you asserted it: {getattr(source.contract, field)}")
    told_in = output / "failures.jsonl"
    atomic.write_json_lines(told_in, failures)
    if failures:
        print(f"  {len(failures)} were refused: {told_in} says why")
    return 1 if failures else 0


def _write(source: "FeatureSource", output: pathlib.Path) -> tuple[list[dict[str, str]], int]:
    """(videos that were refused with the reason, number of clips written)."""
    import numpy as np

    from videobert_jax.data import importers
    from videobert_jax.files import atomic, progress

    left = [name for name in source.names if not _target(output, name).exists()]
    if len(left) < len(source.names):
        kept = len(source.names) - len(left)
        print(f"{kept} of {len(source.names)} videos are there already", file=sys.stderr)
    failures, clips = [], 0
    shown = progress.Progress("videos", len(left))
    for name in left:
        try:
            features = source.features(name)
        except importers.FeatureError as error:
            failures.append({"video": name, "reason": str(error)})
            shown.step()
            continue
        buffer = io.BytesIO()
        np.save(buffer, features)
        atomic.write_bytes(_target(output, name), buffer.getvalue())
        clips += len(features)
        shown.step()
    return failures, clips


def _target(output: pathlib.Path, name: str) -> pathlib.Path:
    """Canonical ids hold no separators of paths: they are the stems of files."""
    return output / f"{name}.npy"
