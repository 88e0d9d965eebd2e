"""Questions about the embedded cooking corpus: an example each, over the clips that it is about.

Splits: train, validation, test, test_unseen_backgrounds, test_unseen_pairs, of the videos that have
those names in the corpus itself; labels: answer; annotations: kind, times, question, answer, and of
those about one step (verb, object, container, tool) five candidates. Drawn in 2D by one renderer:
figures measured here say nothing about real cooking video.
"""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from videobert_jax.data import index, writer
from videobert_jax.kitchen import assets, corpus, ground_truth, palette
from videobert_jax.kitchen.assets import VideoRecord

HELP = "questions about the embedded corpus' videos, with answers and candidates (no source needed)"
NAME = "kitchen_qa"
CANDIDATES = 5
# What else might be asked for; other kinds are open.
_ANSWERS = {
    "verb": palette.VERBS,
    "object": palette.OBJECTS,
    "container": palette.CONTAINERS,
    "tool": tuple(
        dict.fromkeys(t.replace("_", " ") for of in palette.VERB_TOOLS.values() for t in of)
    ),
}


def prepare(output: pathlib.Path) -> index.Dataset:
    """Dataset of the shipped assets, written to `output`.

    Raises AssetsError where they are damaged, DatasetError where `output` holds something else.
    """
    shipped = assets.load()
    metadata = {"regime": "text_video", "notes": (__doc__ or "").strip()}
    out = writer.DatasetWriter(output, NAME, shipped.contract, metadata=metadata)
    for video in shipped.videos:
        rows = questions(video)
        segments = [
            writer.Segment(row["start"], row["end"], row["question"], {"answer": row["answer"]})
            for row in rows
        ]
        annotation = {"video": video.name, "questions": rows}
        out.add_video(video.split, video.name, video.features, segments, annotation=annotation)
    return out.finish()


def questions(video: VideoRecord) -> list[dict[str, Any]]:
    """Every question about a video, with candidates where its kind has a closed list of answers."""
    number = corpus.VIDEO_NAME.fullmatch(video.name)
    if number is None:
        raise ValueError(f"{video.name} is no video of the corpus")
    rng = corpus.random_stream(int(number[1]), corpus.CANDIDATE_STREAM)
    asked = ground_truth.questions(video.steps, video.seconds, palette.OBJECTS)
    return [dataclasses.asdict(question) | _choice(question, rng) for question in asked]


def _choice(question: ground_truth.Question, rng: np.random.Generator) -> dict[str, Any]:
    """Candidates in a drawn order, and the place of the right one among them."""
    if question.kind not in _ANSWERS:
        return {}
    wrong = [answer for answer in _ANSWERS[question.kind] if answer != question.answer]
    drawn = [wrong[i] for i in rng.permutation(len(wrong))[: CANDIDATES - 1].tolist()]
    place = int(rng.integers(CANDIDATES))
    candidates = [*drawn[:place], question.answer, *drawn[place:]]
    return {"candidates": candidates, "correct": place}
