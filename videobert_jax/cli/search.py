"""`videobert search "crack the egg into the bowl" --index INDEX`: the moments that fit a sentence.

A line an answer: score (cosine), start and end, file. Windows of one video overlap: of two that
share more than a quarter of their seconds the better one alone is told (--merge).
"""

import argparse
import json
import pathlib
import sys
from typing import TYPE_CHECKING

from videobert_jax.cli import model_options

if TYPE_CHECKING:
    from videobert_jax.inference.model import PretrainedModel

HELP = "find moments of indexed videos by a sentence"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", help="one sentence, in quotes")
    parser.add_argument(
        "--index",
        type=pathlib.Path,
        default=model_options.INDEX,
        help=f"folder of the index; default {model_options.INDEX}",
    )
    parser.add_argument(
        "--checkpoint",
        help="WORKDIR, WORKDIR@STEP or an export; default: the one that made the index",
    )
    parser.add_argument("--top-k", "--top_k", type=int, default=10, help="answers; default 10")
    parser.add_argument("--json", action="store_true", help="a JSON list of answers instead")
    parser.add_argument(
        "--merge",
        type=float,
        default=0.25,
        help="share of a window beyond which it is the moment of a better one; 1 tells all",
    )
    parser.add_argument(
        "--probes", type=int, help="lists that an approximate index reads; default: measured"
    )
    parser.add_argument(
        "--truncate", action="store_true", help="cut a text that is longer than in training"
    )
    parser.add_argument(
        "--no-verify",
        action="store_true",
        help="do not read the vectors' file once to compare its digest",
    )
    parser.add_argument(
        "--platform", default="", help="'cpu' says that an accelerator is left unused on purpose"
    )


def run(arguments: argparse.Namespace) -> int:
    """0 when answers are told. Raises SearchIndexError, InputError, MissingExtra and what the
    loaders raise."""
    from videobert_jax.search_index import Index

    # Before the model, which takes seconds to load.
    opened = Index.open(arguments.index, verify=not arguments.no_verify)
    model, _ = load_model(arguments.index, arguments.checkpoint, arguments.platform)
    opened = opened.with_model(model)
    (hits,) = opened.search(
        arguments.text,
        arguments.top_k,
        merge=arguments.merge,
        probes=arguments.probes,
        truncate=arguments.truncate,
    )
    if arguments.json:
        print(json.dumps([hit._asdict() for hit in hits], indent=1, ensure_ascii=False))
        return 0
    for hit in hits:
        print(f"{hit.score:6.3f}  {clock(hit.start)}-{clock(hit.end)}  {hit.file}")
    return 0


def load_model(
    folder: pathlib.Path | None, checkpoint: str | None, platform: str
) -> "tuple[PretrainedModel, str]":
    """(the model, the name by which it is found again) of a checkpoint, or of that which made the
    index in `folder`. Raises SearchIndexError where it is another model, LoadError."""
    from videobert_jax import loading
    from videobert_jax.files import storage
    from videobert_jax.inference.model import PretrainedModel
    from videobert_jax.search_index import SearchIndexError, manifest
    from videobert_jax.training import checkpoint_name, hardware

    found = manifest.read(folder) if folder is not None else None
    name = checkpoint or (found.maker.checkpoint if found else "")
    if not name:
        raise SearchIndexError(f"{folder} does not say where its model is; give --checkpoint.")
    print(hardware.start(platform), file=sys.stderr)
    try:
        model = PretrainedModel(loading.load_bundle(name))
    except loading.LoadError as error:
        if checkpoint or found is None:
            raise
        raise SearchIndexError(
            f"{folder} was made by {found.maker}, which is not where it was ({error}); give "
            "--checkpoint."
        ) from error
    if found is not None and folder is not None:
        found.require_maker(model, folder)
    at, _ = checkpoint_name.split(name)
    place = str(storage.absolute(storage.path(at)))
    is_workdir = (storage.path(at) / "checkpoints").is_dir()
    return model, f"{place}@{model.bundle.step}" if is_workdir else place


def clock(seconds: float | int) -> str:
    """Hours where there are any, minutes, seconds and tenths: 1:02:03.4."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    start = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{start}:{rest // 10:02d}.{rest % 10}"
