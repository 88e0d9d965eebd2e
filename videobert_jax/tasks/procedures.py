"""What is done in each video, step after step: the steps of its task in order, and where they are.

A dataset whose tasks have many videos declares their steps (metadata "task_steps": task -> labels
of the kind "step" in order) and how they are said ("label_surface_forms"); a video need not show
all of them. In any other dataset a video is a task of its own, and its steps are its examples.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

from videobert_jax.data.index import Dataset, Split
from videobert_jax.schema import NO_LABEL
from videobert_jax.tasks import whole_videos
from videobert_jax.tasks.errors import EvaluationError

TASK, STEP = "task", "step"  # kinds of labels
_NAMED = 5  # that a message lists


@dataclasses.dataclass(frozen=True)
class Procedure:
    """The steps of the task of one video, in order.

    video: its number in the split. texts: how the steps are said. segments: (step, start, end in
    seconds) of those that it shows. examples: the first example of each step, -1 where it shows
    none.
    """

    video: int
    task: str
    texts: tuple[str, ...]
    segments: tuple[tuple[int, float, float], ...]
    examples: tuple[int, ...]

    @property
    def num_shown(self) -> int:
        """How many of the steps the video shows."""
        return sum(example >= 0 for example in self.examples)


def has_tasks(dataset: Dataset) -> bool:
    """Whether the dataset declares tasks, each of several videos."""
    return "task_steps" in dataset.metadata


def of_videos(dataset: Dataset, split: Split, videos: Int[np.ndarray, " v"]) -> list[Procedure]:
    """Procedures of those of the videos that have steps, in their order.

    Raises EvaluationError where a task or the description of a step is not declared, and where an
    example lacks a label.
    """
    named = split.caption_hash > 0
    order = np.lexsort((split.end, split.start, split.video))
    order = order[named[order]]
    borders = np.searchsorted(split.video[order], np.arange(len(split.videos) + 1))
    found = []
    declared = _Declared(dataset, split) if has_tasks(dataset) else None
    of_video = _of_own_steps if declared is None else declared.of_video
    for video in videos.tolist():
        examples = order[borders[video] : borders[video + 1]]
        if len(examples):
            found.append(of_video(split, video, examples))
    return found


def _of_own_steps(split: Split, video: int, examples: Int[np.ndarray, " n"]) -> Procedure:
    """A video as a task of its own; examples of one label of the kind "step" are one step."""
    keys: list[object] = examples.tolist()
    if STEP in split.labels:
        ids = split.labels[STEP].ids[examples]
        keys = [e if i == NO_LABEL else f"label {i}" for e, i in zip(keys, ids, strict=True)]
    places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    steps = [places[key] for key in keys]
    firsts = [int(examples[steps.index(step)]) for step in range(len(places))]
    return _procedure(split, video, split.videos[video], split.texts(firsts), examples, steps)


def can_be_put(split: Split, procedure: Procedure) -> bool:
    """Whether every step takes time, and there is a second for each."""
    room = whole_videos.num_seconds(split, procedure.video)
    in_time = all(0 <= start < end for _, start, end in procedure.segments)
    return in_time and len(procedure.texts) <= room


class _Declared:
    """Steps that the dataset declares for its tasks."""

    def __init__(self, dataset: Dataset, split: Split):
        self._steps: Mapping[str, list[str]] = dataset.metadata["task_steps"]
        self._forms = dataset.metadata.get("label_surface_forms", {}).get(STEP, {})
        self._path = dataset.path
        if missing := [kind for kind in (TASK, STEP) if kind not in split.labels]:
            raise EvaluationError(
                f"split {split.name!r} of {dataset.path} has no labels of {', '.join(missing)}, "
                "though the dataset declares tasks; prepare it anew."
            )

    def of_video(self, split: Split, video: int, examples: Int[np.ndarray, " n"]) -> Procedure:
        name = split.videos[video]
        for kind in (TASK, STEP):
            if (split.labels[kind].ids[examples] == NO_LABEL).any():
                raise EvaluationError(
                    f"video {name} has examples without a label of kind {kind!r}, though the "
                    f"dataset declares tasks; prepare {self._path} anew."
                )
        tasks, labels = (
            [split.labels[kind].names[i] for i in split.labels[kind].ids[examples].tolist()]
            for kind in (TASK, STEP)
        )
        task = tasks[0]
        steps = self._steps.get(task, [])
        if set(tasks) != {task} or not set(labels) <= set(steps):
            raise EvaluationError(
                f"video {name} has the tasks {sorted(set(tasks))} and the steps "
                f"{sorted(set(labels))}; expected one task that is declared, and steps of it "
                f"({steps}); prepare {self._path} anew."
            )
        if bare := [step for step in steps if not self._forms.get(step)]:
            listed = ", ".join(bare[:_NAMED]) + (" ..." if len(bare) > _NAMED else "")
            raise EvaluationError(
                f"{len(bare)} steps have no description in task {task}: {listed}; name a source "
                "that describes them when the dataset is prepared."
            )
        texts = [self._forms[step][0] for step in steps]
        return _procedure(split, video, task, texts, examples, [steps.index(s) for s in labels])


def _procedure(
    split: Split,
    video: int,
    task: str,
    texts: list[str],
    examples: Int[np.ndarray, " n"],
    steps: list[int],
) -> Procedure:
    first = {step: int(e) for e, step in reversed(list(zip(examples, steps, strict=True)))}
    return Procedure(
        video,
        task,
        tuple(texts),
        tuple(
            (step, float(split.start[example]), float(split.end[example]))
            for example, step in zip(examples.tolist(), steps, strict=True)
        ),
        tuple(first.get(step, -1) for step in range(len(texts))),
    )
