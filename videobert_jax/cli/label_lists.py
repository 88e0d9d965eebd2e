"""`videobert label-lists --annotations FILE --output FILE.json`: what steps are labelled with.

The commonest verbs and nouns of the captions of YouCook II's training videos, 45 and 100 as in
VideoBERT (Sun et al. 2019, section 4.3), by a part-of-speech tagger. `prepare youcook2` labels
steps with the lists of the package, which are made by this command.
"""

import argparse
import pathlib
from importlib import metadata

from videobert_jax.cli import output_file

HELP = "derive the verbs and objects that YouCook II's steps are labelled with"
_SPLIT = "train"
_SHOWN = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--annotations",
        type=pathlib.Path,
        required=True,
        help="youcookii_annotations_trainval.json",
    )
    parser.add_argument(
        "--output", type=output_file.path, required=True, help=".json file to write"
    )
    parser.add_argument("--verbs", type=int, default=45, help="default 45")
    parser.add_argument("--objects", type=int, default=100, help="default 100")


def run(arguments: argparse.Namespace) -> int:
    """0 when the lists are written. Raises DatasetError, LabelListError, MissingExtra."""
    from videobert_jax.data import index
    from videobert_jax.data.datasets import youcook2
    from videobert_jax.files import digests, extras
    from videobert_jax.text import content_words, label_lists

    sizes = {label_lists.VERB: arguments.verbs, label_lists.OBJECT: arguments.objects}
    if min(sizes.values()) < 1:
        raise label_lists.LabelListError(f"lists of {sizes}; expected 1 or more of each")
    if not arguments.annotations.is_file():
        raise index.DatasetError(f"{arguments.annotations}: no such file; give the published one")
    tagger = content_words.nouns_and_verbs()
    inflect = extras.require("textblob.en.inflect", "words")
    videos = youcook2.read_steps(arguments.annotations).splits.get(_SPLIT, [])
    about = {
        "dataset": "youcook2",
        "annotations_sha256": digests.sha256_file(arguments.annotations),
        "split": _SPLIT,
        "captions": sum(len(video.segments) for video in videos),
        "tagger": f"textblob {metadata.version('textblob')}",
    }
    captions = (segment.text for video in videos for segment in video.segments)
    lists = label_lists.derive(captions, tagger, inflect.singularize, sizes, about)
    label_lists.save(arguments.output, lists)
    for kind, of in lists.captions.items():
        often = ", ".join(f"{label} {count:,}" for label, count in list(of.items())[:_SHOWN])
        print(f"{len(of)} {kind}s: {often}, ...; digest {lists.digests[kind]}")
    print(f"{arguments.output} written")
    return 0
