"""A task: how near a caption is to its own clips, and to those of the example before it.

python eval.py --workdir=runs/kitchen --task=my_package.task
"""

import numpy as np

from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.metrics.statistic import Statistic
from videobert_jax.tasks.report import TaskResult

NAME = "nearness"


def evaluate(context: EvaluationContext) -> TaskResult:
    """`cosine`, mean over the examples with a caption and clips; the baseline has others' clips."""
    split, ids = context.split, context.ids
    captions = np.array([bool(text) for text in split.texts(ids)])
    ids = ids[captions & (split.clip_count[ids] > 0)]
    rows = context.expect(ids, "both a caption and clips")
    texts = context.encodings.text_embeddings[rows]
    videos = context.encodings.video_embeddings[rows]
    own = (texts * videos).sum(-1)
    others = (texts * np.roll(videos, 1, axis=0)).sum(-1)
    lines = [
        {**context.line(example), "cosine": float(cosine)}
        for example, cosine in zip(ids.tolist(), own, strict=True)
    ]
    return TaskResult(
        task=NAME,
        expected=ids,
        protocol="cosine of a caption and its clips in the joint space",
        averaging="over examples",
        truncation={},
        metrics={"cosine": float(own.mean(dtype=np.float64))},
        baselines={"shuffled_video": {"cosine": float(others.mean(dtype=np.float64))}},
        examples=lines,
        statistics={"cosine": Statistic.mean("cosine")},
    )
