"""MSRVTT-QA (Xu et al. 2017, "Video Question Answering via Gradually Refined Attention"):
243,680 open questions about MSR-VTT's clips."""

import pathlib
from typing import Any

from videobert_jax.data import datasets, index
from videobert_jax.data.datasets import questions
from videobert_jax.data.datasets.annotated import Corpus
from videobert_jax.data.datasets.msrvtt import WHOLE_CLIP, clip_name

_TEXTS = ("question", "answer")


@datasets.published
def read(annotations: list[pathlib.Path]) -> Corpus:
    """train_qa.json, val_qa.json and test_qa.json, or some of them: lists of {video_id, question,
    answer, id, category_id}, where video_id is a clip's number; a file's name says its split.

    An example is a question over its whole clip, labelled with its answer. Raises DatasetError on
    other forms.
    """
    corpus = Corpus("msrvtt_qa", "MSRVTT-QA (Xu et al. 2017)", {}, {})
    for file in annotations:
        named = "train_qa.json, val_qa.json and test_qa.json"
        split = questions.new_split(corpus, file, file.stem.split("_")[0], named)
        by_video: dict[str, list[dict]] = {}
        for number, row in enumerate(datasets.read_json(file, list)):
            by_video.setdefault(_clip(file, number, row), []).append(row)
        corpus.splits[split] = [
            questions.annotated(corpus, name, [_question(row) for row in rows])
            for name, rows in by_video.items()
        ]
        if split != "train":
            corpus.protocols[split] = "msrvtt_qa" if split == "test" else "msrvtt_qa_validation"
    return corpus


def _clip(file: pathlib.Path, number: int, row: Any) -> str:
    try:
        if all(isinstance(row[field], str) for field in _TEXTS):
            return clip_name(row["video_id"])
    except (KeyError, TypeError, ValueError):
        pass
    raise index.DatasetError(
        f"{file}: entry {number} is {str(row)[:80]!r}; expected video_id, a clip of MSR-VTT, and "
        "question and answer as text"
    )


def _question(row: dict) -> dict:
    return {
        "kind": "open",
        "start": 0.0,
        "end": WHOLE_CLIP,
        "question": row["question"],
        "answer": row["answer"],
        "text": row["question"],
        "labels": {"answer": row["answer"]},
    }
