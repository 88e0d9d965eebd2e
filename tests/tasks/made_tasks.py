"""Whole videos of made-up tasks, whose steps have gaps between them."""

import dataclasses
import pathlib

import numpy as np

from tests.tasks import conftest
from videobert_jax.data import index, writer
from videobert_jax.tasks.context import EvaluationContext

STRIDE = 1.5
CONTRACT = dataclasses.replace(conftest.CONTRACT, stride_seconds=STRIDE, fps=16.0)
STEPS = {"tea_1": ["pour the oil"], "tea_2": ["stir the soup"], "tea_3": ["chop the onion"]}


def write_tasks(
    path: pathlib.Path,
    videos: int,
    *,
    training=0,
    longer=0.1,
    forms=STEPS,
    absent=(),
    absent_training=False,
    unlabelled=(),
    **change,
) -> index.Dataset:
    """Videos of 6 to 9 clips that show two or three of a task's three steps, one of them twice.

    training: so many videos more as the split train. longer: seconds by which a step ends later,
    perhaps when the next one has begun. absent: videos without clips; absent_training:
    all of training are such. unlabelled: a video, and the kind of labels its last example lacks.
    """
    random = np.random.default_rng(0)
    metadata = {
        "label_surface_forms": {"step": forms},
        "task_steps": {"tea": list(STEPS), "soup": ["tea_3", "tea_1"]},
        "protocols": {"primary": "made_up"},
    }
    out = writer.DatasetWriter(path, "made", CONTRACT, metadata=metadata | change)
    for number in range(videos + training):
        split, video = ("primary", number) if number < videos else ("train", number - videos)
        task = "soup" if video % 3 == 2 else "tea"
        steps = ["tea_1", "tea_3", "tea_1"] if task == "soup" else ["tea_2", "tea_1", "tea_2"]
        clips = int(random.integers(6, 10))
        ends = np.sort(random.uniform(0.5, clips * STRIDE - 0.4, 6)).round(2)
        segments = [
            writer.Segment(float(a), float(b) + longer, f"{step}.", {"task": task, "step": step})
            for step, a, b in zip(steps, ends[::2], ends[1::2], strict=True)
        ]
        if unlabelled and (split, video) == ("primary", unlabelled[0]):
            del segments[-1].labels[unlabelled[1]]
        features = random.normal(size=(clips, conftest.DIM)).astype(np.float16)
        if video in absent if split == "primary" else absent_training:
            features = None
        out.add_video(split, f"{split[0]}{video}", features, segments)
    return out.finish()


def context_of(bundle, dataset, split="primary", limit=None) -> EvaluationContext:
    bundle = dataclasses.replace(bundle, contract=dataset.contract)
    return EvaluationContext(bundle, dataset, dataset.split(split), 0, limit)
