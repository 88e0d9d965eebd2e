"""`videobert extract --videos DIR_OR_LIST --output DIR --backbone s3d_kinetics --weights FILE`.

Clip features of video files: STEM.npy, float16 [clips, dim], a video, and contract.json, which says
how they were made (`prepare` reads that with --layout=npy). Stopped, it goes on where it was.
What failed is named in failures.jsonl, of a share in failures-I-of-N.jsonl.
"""

import argparse
import pathlib
import re
from typing import TYPE_CHECKING

from videobert_jax.files import extras

if TYPE_CHECKING:
    from videobert_jax.video.extract import ClipExtractor

HELP = "extract clip features from video files"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--videos", type=pathlib.Path, required=True, help="folder, or list with a path a line"
    )
    parser.add_argument("--output", type=pathlib.Path, required=True, help="folder to write")
    add_backbone_arguments(parser)
    parser.add_argument("--stride", type=float, help="seconds between clips; default: no overlap")
    parser.add_argument(
        "--shard",
        default="1/1",
        metavar="I/N",
        help="only the I-th of N shares of the videos, from 1, by a hash of their names",
    )
    parser.add_argument(
        "--stills", action="store_true", help="of each clip the middle frame alone, repeated"
    )


def add_backbone_arguments(parser: argparse._ActionsContainer) -> None:
    """What every command says about the network that makes the features."""
    parser.add_argument(
        "--backbone",
        default="i3d_kinetics",
        help="i3d_kinetics (weights by the kitchen extra), s3d_kinetics, s3d_howto100m, or a "
        "package.module of your own (docs/extending.md)",
    )
    parser.add_argument("--weights", type=pathlib.Path, help="the backbone's published file")
    parser.add_argument("--batch", type=int, default=8, help="clips at a time; default 8")
    parser.add_argument(
        "--platform", default="", help="'cpu' says that an accelerator is left unused on purpose"
    )


def run(arguments: argparse.Namespace) -> int:
    """0 when every video's features are there, 1 where some failed. Raises CorpusError,
    BackboneError, ClipError, WeightsError, ContractMismatch, MissingExtra."""
    extras.require("av", "video")
    from videobert_jax.video import corpus

    number, count = _shard(arguments.shard)
    videos = corpus.shard_of(corpus.find(arguments.videos), number - 1, count)
    told_in = corpus.failures_file(number, count)
    failures = corpus.extract_corpus(
        extractor(arguments), videos, arguments.output, arguments.stills, told_in
    )
    print(f"{arguments.output}: features of {len(videos) - len(failures)} of {len(videos)} videos")
    for failure in failures[:20]:
        print(f"  {failure['video']}: {failure['reason']}")
    if len(failures) > 20:
        print(f"  and {len(failures) - 20} more, in {arguments.output / told_in}")
    return 1 if failures else 0


def extractor(arguments: argparse.Namespace) -> "ClipExtractor":
    """The extractor that the arguments name, on all devices of this process."""
    import jax

    from videobert_jax.training import hardware
    from videobert_jax.video import corpus, extract
    from videobert_jax.weights import backbones

    if arguments.batch < 1:
        raise corpus.CorpusError(f"--batch={arguments.batch}: expected 1 or more")
    backbone, settings = backbones.load_backbone(arguments.backbone, arguments.weights)
    if arguments.stride is not None:
        settings = settings.with_stride(arguments.stride)
    print(hardware.start(arguments.platform))
    devices = jax.local_device_count()
    return extract.ClipExtractor(backbone, settings, -(-arguments.batch // devices) * devices)


def _shard(text: str) -> tuple[int, int]:
    from videobert_jax.video import corpus

    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise corpus.CorpusError(f"--shard={text}: expected I/N with I from 1 to N, such as 1/8")
    return int(match[1]), int(match[2])
