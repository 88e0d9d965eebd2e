"""`videobert fit-visual-words --dataset DIR --output FILE.safetensors`: VideoBERT's visual words.

Hierarchical k-means over all clip features of a split (Sun et al. 2019, section 4.2: 12 branches, 4
levels, 20,736 words). Prints, a level, how far features are from their words and how evenly the
words are used; where a split has labels, also how much the words of its steps say of them.
"""

import argparse
import pathlib
import sys
from typing import TYPE_CHECKING, Any

from videobert_jax.cli import output_file
from videobert_jax.files import extras

if TYPE_CHECKING:
    import numpy as np

    from videobert_jax.data.index import Dataset, Split
    from videobert_jax.video.visual_words import VisualWords

HELP = "fit visual words (hierarchical k-means) to a dataset's clip features"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", type=pathlib.Path, required=True, help="a prepared dataset")
    parser.add_argument("--split", default="train", help="whose clips; default train")
    parser.add_argument(
        "--output", type=output_file.path, required=True, help=".safetensors file to write"
    )
    parser.add_argument("--branching", type=int, default=12, help="children of a node; default 12")
    parser.add_argument("--depth", type=int, default=4, help="levels of the tree; default 4")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--sample",
        type=int,
        default=1 << 18,
        help="clip features held in memory at a time, as they are stored; default 262144",
    )
    parser.add_argument(
        "--passes",
        type=int,
        default=1,
        help="Lloyd steps a level over all features, where the sample is not all; default 1",
    )
    parser.add_argument(
        "--labels",
        help="splits whose labelled steps the words are compared with, joined by commas; "
        "default: --split, where it has labels",
    )
    parser.add_argument(
        "--sheet",
        type=pathlib.Path,
        help="PNG of the clips nearest to the most used words (kitchen only: frames are drawn)",
    )
    parser.add_argument(
        "--platform", default="", help="'cpu' says that an accelerator is left unused on purpose"
    )


def run(arguments: argparse.Namespace) -> int:
    """0 when the words are written. Raises VisualWordsError, DatasetError, MissingExtra."""
    from videobert_jax.data import clip_stream, index
    from videobert_jax.sharding import mesh
    from videobert_jax.training import hardware
    from videobert_jax.video import hierarchical_kmeans, visual_words

    if min(arguments.branching - 1, arguments.depth, arguments.sample) < 1:
        raise visual_words.VisualWordsError(
            f"--branching={arguments.branching} --depth={arguments.depth} --sample="
            f"{arguments.sample}: expected two branches, one level and one feature at least"
        )
    dataset = index.open_dataset(arguments.dataset)
    split = dataset.split(arguments.split)
    compared = _compared(dataset, split, arguments.labels)
    if arguments.sheet is not None:
        _require_sheet(dataset)
    print(hardware.start(arguments.platform))
    videos = clip_stream.undamaged_videos(split)
    if left := int((split.num_clips > 0).sum()) - len(videos):
        print(f"{left} videos with NaN or infinite features are left out", file=sys.stderr)
    if not len(videos) or dataset.statistics is None:
        raise visual_words.VisualWordsError(
            f"{arguments.dataset}: split {split.name!r} has no clip features to make words of; "
            "choose another with --split"
        )
    words = hierarchical_kmeans.fit(
        lambda: clip_stream.clip_features(split, videos),
        int(split.num_clips[videos].sum()),
        dataset.statistics.mean,
        dataset.contract,
        hierarchical_kmeans.Settings(
            branching=arguments.branching,
            depth=arguments.depth,
            seed=arguments.seed,
            sample=arguments.sample,
            passes=arguments.passes,
        ),
        mesh.create_mesh(mesh.MeshConfig(-1, 1, 1)),
        {"dataset": dataset.name, "dataset_digest": dataset.digest, "split": split.name},
    )
    visual_words.save(arguments.output, words)
    _report(words, arguments.output, {s.name: _information(dataset, s, words) for s in compared})
    if arguments.sheet is not None:
        _draw(words, dataset, split, videos, arguments.sheet)
    return 0


def _compared(dataset: "Dataset", split: "Split", asked: str | None) -> "list[Split]":
    if asked is None:
        return [split] if split.labels else []
    return [dataset.split(name) for name in asked.split(",")]


def _information(dataset: "Dataset", split: "Split", words: "VisualWords") -> dict[str, float]:
    """Normalised mutual information of the clips' words and their steps' labels, kind by kind."""
    import numpy as np

    from videobert_jax.data import clip_stream, packing
    from videobert_jax.schema import NO_LABEL
    from videobert_jax.tasks.metrics import clustering

    videos = np.flatnonzero(split.num_clips > 0)
    found = [words.assign(part) for part in clip_stream.clip_features(split, videos)]
    of_clips = np.concatenate(found) if found else np.zeros(0, np.int32)
    first = np.zeros(len(split.videos), np.int64)
    first[videos] = np.cumsum(split.num_clips[videos]) - split.num_clips[videos]
    owners, number = packing.spread(split.clip_count.astype(np.int64))
    clips = first[split.video[owners]] + split.first_clip[owners] + number
    figures = {}
    for kind, labels in split.labels.items():
        known = labels.ids[owners] != NO_LABEL
        if known.any():
            figures[kind] = clustering.normalized_mutual_information(
                of_clips[clips[known]], labels.ids[owners][known].astype(np.int64)
            )
    return figures


def _report(
    words: "VisualWords", output: pathlib.Path, information: dict[str, dict[str, float]]
) -> None:
    from videobert_jax.files import atomic

    print("level     words      used  perplexity  squared distance")
    for number, row in enumerate(words.about["figures"], start=1):
        print(
            f"{number:>5} {row['words']:>9,} {row['occupancy']:>8.1%} {row['perplexity']:>11,.1f} "
            f"{row['quantisation_error']:>17.6g}"
        )
    for split, kinds in information.items():
        listed = ", ".join(f"{kind} {value:.3f}" for kind, value in kinds.items())
        print(f"normalised mutual information with the labels of {split}: {listed or 'no labels'}")
    record: dict[str, Any] = {**words.about, "normalised_mutual_information": information}
    # Behind the whole name: NAME.json may be another file, such as content words.
    beside = output.with_name(f"{output.name}.json")
    atomic.write_json(beside, record)
    print(f"{output} and {beside.name} written")


def _require_sheet(dataset: "Dataset") -> None:
    from videobert_jax import schema
    from videobert_jax.video.visual_words import VisualWordsError

    for module, extra in (("matplotlib", "plots"), ("PIL", "kitchen"), ("av", "kitchen")):
        extras.require(module, extra)
    if dataset.name not in schema.EMBEDDED:
        raise VisualWordsError(
            f"--sheet draws the clips of the kitchen alone; {dataset.name} is features without "
            "pictures: leave --sheet out"
        )


def _draw(
    words: "VisualWords",
    dataset: "Dataset",
    split: "Split",
    videos: "np.ndarray",
    path: pathlib.Path,
) -> None:
    from videobert_jax.kitchen import word_sheet

    word_sheet.draw(words, split, videos, path)
    print(f"{path} written")
