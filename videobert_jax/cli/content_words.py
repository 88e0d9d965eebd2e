"""`videobert content-words --dataset DIR --output FILE.json`: the words a token contrast compares.

Counts in how many captions of a split each noun and verb comes (TACo, Yang et al. 2021); the rarer,
the more it weighs. `data.content_words=FILE` and `model.token_head` give them to a run.
"""

import argparse
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from videobert_jax.cli import output_file

if TYPE_CHECKING:
    from videobert_jax.data.index import Split

HELP = "count the nouns and verbs of a dataset's captions"
NOUNS_AND_VERBS, ALL = "nouns_and_verbs", "all"
_CHUNK = 10_000  # captions read at a time
_SHOWN = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", type=pathlib.Path, required=True, help="a prepared dataset")
    parser.add_argument("--split", default="train", help="whose captions; default train")
    parser.add_argument(
        "--output", type=output_file.path, required=True, help=".json file to write"
    )
    parser.add_argument(
        "--words",
        choices=(NOUNS_AND_VERBS, ALL),
        default=NOUNS_AND_VERBS,
        help="all: every word, told apart by frequency alone, for captions that are not English; "
        "the default needs the package extra 'words'",
    )
    parser.add_argument(
        "--captions",
        type=int,
        default=1_000_000,
        help="captions read at most, evenly spaced; default 1000000",
    )


def run(arguments: argparse.Namespace) -> int:
    """0 when the words are written. Raises ContentWordsError, DatasetError, MissingExtra."""
    from videobert_jax.data import index
    from videobert_jax.text import content_words

    if arguments.captions < 1:
        raise content_words.ContentWordsError(
            f"--captions={arguments.captions}; expected 1 or more"
        )
    tagger = content_words.nouns_and_verbs() if arguments.words == NOUNS_AND_VERBS else None
    dataset = index.open_dataset(arguments.dataset, check_shards=False)
    split = dataset.split(arguments.split)
    about = {
        "dataset": dataset.name,
        "dataset_digest": dataset.digest,
        "split": split.name,
        "words": arguments.words,
    }
    words = content_words.count(_captions(split, arguments.captions), tagger, about)
    content_words.save(arguments.output, words)
    often = sorted(words.words, key=lambda word: (-words.words[word], word))[:_SHOWN]
    listed = ", ".join(f"{word} {words.weight(word):.2f}" for word in often)
    print(f"{len(words.words):,} content words in {words.captions:,} captions")
    print(f"the commonest and their weights: {listed}")
    print(f"{arguments.output} written")
    return 0


def _captions(split: "Split", most: int) -> Iterator[str]:
    ids = range(0, len(split), max(1, -(-len(split) // most)))
    for start in range(0, len(ids), _CHUNK):
        yield from split.texts(ids[start : start + _CHUNK])
