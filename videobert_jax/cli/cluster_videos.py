"""`videobert cluster-videos --checkpoint WORKDIR --dataset DIR --output FILE.safetensors`: which
videos of a split are alike, as a checkpoint sees them.

Puts the split's videos into one order, near ones together (VideoCLIP, Xu et al. 2021, section 3.3,
from the network's own embeddings). `data.sources.NAME.neighbours=FILE` makes a run's blocks of it,
and FILE@DIGEST, as it is printed, of no other.
"""

import argparse
from typing import TYPE_CHECKING

from videobert_jax.cli import output_file

if TYPE_CHECKING:
    import numpy as np

HELP = "order a split's videos by a checkpoint's embeddings, near ones together"
_SHOWN = 64  # places of the order within which videos are compared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint", required=True, help="WORKDIR, WORKDIR@STEP or the folder of an export"
    )
    parser.add_argument("--dataset", required=True, help="a prepared dataset")
    parser.add_argument("--split", default="train", help="whose videos; default train")
    parser.add_argument(
        "--output", type=output_file.path, required=True, help=".safetensors file to write"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the clusters; default 0")
    parser.add_argument(
        "--platform", default="", help="'cpu' says that an accelerator is left unused on purpose"
    )


def run(arguments: argparse.Namespace) -> int:
    """0 when the order is written. Raises DatasetError, ContractMismatch, NeighboursError and what
    the loaders raise."""
    import numpy as np

    from videobert_jax import loading
    from videobert_jax.data import index, neighbours
    from videobert_jax.tasks import encoding, video_embeddings
    from videobert_jax.training import hardware
    from videobert_jax.video import near_videos

    dataset = index.open_dataset(arguments.dataset)
    split = dataset.split(arguments.split)
    print(hardware.start(arguments.platform))
    bundle = loading.load_bundle(arguments.checkpoint)
    dataset.contract.verify_against(
        bundle.contract, found=str(dataset.path), expected=f"the checkpoint {bundle.name}"
    )
    runner = encoding.ModelRunner(bundle)
    embeddings = video_embeddings.of_videos(runner, split)
    seen = np.flatnonzero(embeddings.any(1))
    if not len(seen):
        raise neighbours.NeighboursError(
            f"{dataset.path}: split {split.name!r} has no examples with clips to compare videos "
            "by; choose another with --split"
        )
    order = near_videos.order(embeddings[seen], dataset.contract, arguments.seed, runner.mesh)
    videos = np.concatenate([seen[order], np.flatnonzero(~embeddings.any(1))])
    about = {
        "dataset": dataset.name,
        "dataset_digest": dataset.digest,
        "checkpoint": bundle.name,
        "checkpoint_step": bundle.step,
        "checkpoint_digest": bundle.digest,
        "seed": arguments.seed,
        "num_videos_without_clips": len(videos) - len(seen),
    }
    named = neighbours.write(arguments.output, split, videos, about)
    near, far = mean_cosine(embeddings[seen[order]], _SHOWN), mean_cosine(embeddings[seen], _SHOWN)
    print(
        f"{len(videos):,} videos of {dataset.name}/{split.name} in order: mean cosine of {_SHOWN} "
        f"side by side {near:.3f}, before {far:.3f}"
    )
    print(f"{arguments.output} written; a run takes it, and no other, by")
    print(f"  --config.data.sources.NAME.neighbours={named}")
    return 0


def mean_cosine(embeddings: "np.ndarray", count: int) -> float:
    """Mean cosine of two different ones of `count` vectors side by side; vectors have norm 1."""
    import numpy as np

    pairs = total = 0.0
    for start in range(0, len(embeddings), count):
        part = embeddings[start : start + count].astype(np.float64)
        total += float(np.square(part.sum(0)).sum()) - len(part)
        pairs += len(part) * (len(part) - 1)
    return total / max(pairs, 1.0)
