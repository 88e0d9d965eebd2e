"""`videobert encode --checkpoint WORKDIR --dataset DIR --split SPLIT --output DIR`.

What the cross-modal encoder says of every clip, with no text to read, or beside a template as in
VideoBERT's captioning (Sun et al. 2019, section 4.6), as features for another captioner: VIDEO.npy,
float16 [clips, dim], a video, or with --unit=segment VIDEO_NUMBER.npy a segment. contract.json and
encoding.json say how they were made, files.jsonl when each file and each segment in it is.
`import-features` and `prepare` read the folder (--layout=npy). Stopped, it goes on where it was.
"""

import argparse
import pathlib

from videobert_jax.cli import model_options
from videobert_jax.tasks import encoded_clips
from videobert_jax.tasks.encoded_clips import EncodedClips
from videobert_jax.text import templates

HELP = "write a checkpoint's contextual states of clips, features for another captioner"
PAPER = "paper"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint", required=True, help="WORKDIR, WORKDIR@STEP or the folder of an export"
    )
    parser.add_argument("--dataset", required=True, help="a prepared dataset")
    parser.add_argument("--split", required=True, help="whose videos; one or several")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="folder to write")
    parser.add_argument(
        "--unit",
        choices=encoded_clips.UNITS,
        default=encoded_clips.VIDEO,
        help="a file a whole video, whose clips see their neighbours (default), or a file a "
        "segment, whose clips see no others",
    )
    parser.add_argument(
        "--template",
        metavar="TEXT",
        default="",
        help="sentence with [MASK] that clips read; the mean state of its masks then stands behind "
        f"each clip's own, twice as many dimensions. 'paper' is: {templates.PAPER_FEATURE_TEMPLATE}"
        ". Default: no text",
    )
    parser.add_argument(
        "--window",
        type=int,
        metavar="CLIPS",
        help="clips that are encoded together; default: of segments the longest one, of whole "
        "videos the longest run of training",
    )
    model_options.add_weights_argument(parser)
    parser.add_argument(
        "--platform", default="", help="'cpu' says that an accelerator is left unused on purpose"
    )


def run(arguments: argparse.Namespace) -> int:
    """0 when every file is there, 1 where videos are damaged. Raises DatasetError,
    ContractMismatch, EvaluationError, TemplateError and what the loaders raise."""
    from videobert_jax import loading
    from videobert_jax.data import index
    from videobert_jax.tasks.encoding import ModelRunner
    from videobert_jax.training import hardware

    dataset = index.open_dataset(arguments.dataset)
    names = dict.fromkeys(name.strip() for name in arguments.split.split(","))
    splits = [dataset.split(name) for name in names]
    print(hardware.start(arguments.platform))
    bundle = loading.load_bundle(arguments.checkpoint, arguments.weights)
    dataset.contract.verify_against(
        bundle.contract, found=str(dataset.path), expected=f"the checkpoint {bundle.name}"
    )
    template = arguments.template
    if template == PAPER:
        template = templates.PAPER_FEATURE_TEMPLATE
    settings = encoded_clips.Settings(arguments.unit, template, arguments.window)
    encoded = EncodedClips(ModelRunner(bundle), dataset, splits, settings)
    output = arguments.output
    failures = encoded.write(output)
    count = len(encoded.files)
    print(
        f"{output}: {count - len(failures):,} of {count:,} files, {encoded.contract.dim} "
        f"dimensions, of {bundle.name} step {bundle.step} ({bundle.weights} weights)"
    )
    if failures:
        print(f"  {len(failures)} are of damaged clips: {output / encoded_clips.FAILURES_FILE}")
    return 1 if failures else 0
