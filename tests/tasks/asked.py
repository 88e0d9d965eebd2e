"""A small dataset of questions, and a network that answers them by chance."""

import dataclasses
import pathlib

import numpy as np

from tests.tasks import conftest
from videobert_jax.data import index, writer
from videobert_jax.models.bundle import ModelBundle

VERBS, OBJECTS = tuple(conftest.VERBS), tuple(conftest.OBJECTS)
STEPS = 3


def write(path: pathlib.Path, *, videos: int = 6, change=None, absent=None) -> index.Dataset:
    """Splits of as many training and half as many test videos: of each of three steps two
    questions, one of them with candidates, and one question about the whole video.

    change: of the questions of a video, in place, in the annotations alone. absent: a test video
    without clips.
    """
    out = writer.DatasetWriter(path, "asked", conftest.CONTRACT, metadata={})
    draws = np.random.default_rng(0)
    directions = {name: draws.normal(size=conftest.DIM) for name in (*VERBS, *OBJECTS)}
    for split, count in (("train", videos), ("test", -(-videos // 2))):
        for video in range(count):
            clips, rows = [], []
            for step in range(STEPS):
                verb, name = VERBS[draws.integers(3)], OBJECTS[draws.integers(4)]
                clips += [directions[verb] + directions[name]] * 2
                rows += of_step(verb, name, float(2 * step))
            whole = {"kind": "count", "start": 0.0, "end": 2.0 * STEPS}
            rows.append({**whole, "question": "now the", "answer": str(video)})
            features = np.array(clips) + draws.normal(size=(len(clips), conftest.DIM)) * 0.3
            segments = [
                writer.Segment(r["start"], r["end"], r["question"], {"answer": r["answer"]})
                for r in rows
            ]
            if change is not None:
                change(rows)
            annotation = {"video": f"{split}_{video}", "questions": rows}
            name = f"{split}_{video}"
            stored = None if (split, video) == ("test", absent) else features.astype(np.float16)
            out.add_video(split, name, stored, segments, annotation=annotation)
    return out.finish()


def of_step(verb: str, name: str, start: float) -> list[dict]:
    times = {"start": start, "end": start + 2.0}
    return [
        {
            "kind": "verb",
            **times,
            "question": f"now the {name}",
            "answer": verb,
            "candidates": list(VERBS),
            "correct": VERBS.index(verb),
        },
        {"kind": "object", **times, "question": f"now {verb} the", "answer": name},
    ]


def answering(bundle: ModelBundle, answers: tuple[str, ...]) -> ModelBundle:
    """The network with a head for these answers, of drawn parameters."""
    config = dataclasses.replace(bundle.config, answers=len(answers))
    draws, dim = np.random.default_rng(1), config.embed_dim

    def drawn(*shape: int) -> np.ndarray:
        return draws.normal(size=shape).astype(np.float32)

    head = {
        "hidden": {"kernel": drawn(dim, 2 * dim), "bias": drawn(2 * dim)},
        "norm": {"scale": drawn(2 * dim), "bias": drawn(2 * dim)},
        "kernel": drawn(2 * dim, config.padded_answers),
        "bias": drawn(config.padded_answers),
    }
    params = {**bundle.variables["params"], "answer_head": head}
    variables = {**bundle.variables, "params": params}
    return dataclasses.replace(bundle, config=config, variables=variables, answers=answers)
