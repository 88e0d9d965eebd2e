"""Questions about videos in one form, the embedded corpus': kind, start, end, question, answer;
those to choose from have `candidates` and, in them, the place of the right one, `correct`."""

import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from videobert_jax.data import index, video_ids
from videobert_jax.data.datasets.annotated import AnnotatedVideo, Corpus, segments_of

SPLITS = {"train": "train", "val": "validation", "test": "test"}


def annotated(corpus: Corpus, name: str, rows: Iterable[Mapping[str, Any]]) -> AnnotatedVideo:
    """A video with an example a question, and the questions in the same order as its annotation.

    rows: questions of the form above, with `text`, what the example's caption is. Those that
    cannot be are left out and told in `corpus.failures`.
    """
    segments, questions = [], []
    for row in rows:
        if kept := segments_of(corpus, name, [row]):
            segments += kept
            times = {"start": kept[0].start, "end": kept[0].end}
            questions.append({k: v for k, v in row.items() if k not in ("text", "labels")} | times)
    return AnnotatedVideo(video_ids.canonical(name), tuple(segments), {"questions": questions})


def new_split(corpus: Corpus, file: pathlib.Path, part: str, expected: str) -> str:
    """The split that `part` ("train", "val", "test") of a file's name says. Raises DatasetError
    where it says none, or one that another file is."""
    split = SPLITS.get(part)
    if split is None or split in corpus.splits:
        raise index.DatasetError(
            f"{file}: its name does not say which split it is, or says one that another file is; "
            f"expected {expected}"
        )
    return split


def chosen(candidates: list[str], correct: int) -> dict[str, Any]:
    """The fields of a question to choose an answer from. Raises ValueError where `correct` is no
    place in the candidates, or one of them is empty."""
    if not 0 <= correct < len(candidates) or not all(text.strip() for text in candidates):
        raise ValueError(f"candidate {correct} of {candidates}")
    return {"answer": candidates[correct], "candidates": candidates, "correct": correct}
