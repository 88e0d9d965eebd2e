"""A dataset of sentences in csv files: video, start, end (seconds), text; a file a split.

python -m videobert_jax prepare my_package.dataset --annotations train.csv validation.csv
    --features DIR --layout npy --output DATASET
"""

import csv
import pathlib

from videobert_jax.data import video_ids
from videobert_jax.data.datasets.annotated import AnnotatedVideo, Corpus, segments_of

NAME = "my_sentences"


def read(annotations: list[pathlib.Path]) -> Corpus:
    """A split of every file, called as the file is; all but train are evaluated on."""
    corpus = Corpus(NAME, "sentences of csv files", splits={}, protocols={})
    for file in annotations:
        with open(file, newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        for name in dict.fromkeys(row["video"] for row in rows):
            segments = segments_of(corpus, name, [row for row in rows if row["video"] == name])
            corpus.add(file.stem, AnnotatedVideo(video_ids.canonical(name), segments))
        if file.stem != "train":
            corpus.protocols[file.stem] = f"{NAME}_{file.stem}"
    return corpus
