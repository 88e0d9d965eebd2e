"""CrossTask (Zhukov et al. 2019): instructional videos with their steps in time."""

import pathlib
from typing import Any

from videobert_jax.data import datasets, index, video_ids
from videobert_jax.data.datasets import crosstask_release
from videobert_jax.data.datasets.annotated import AnnotatedVideo, Corpus, segments_of
from videobert_jax.files import digests

PROTOCOL = "crosstask_primary_18"
TRAINING_VIDEOS = 30  # of each task in a fold (Zhukov et al. 2019, section 6)
_MOST_STEPS = 1000  # of a task; the release has 11 at most


@datasets.published
def read(annotations: pathlib.Path, fold: int | None = None) -> Corpus:
    """The primary tasks as the folder of the release (crosstask_release.py) or as one JSON file,
    `{task: {task_full_name, step2headline,
    crosstask_annotations {video: [{step_id, step_s, step_e}]}, video_duration}}` (YouwikiHow's
    form), all of it the split `primary`: CrossTask is evaluated zero-shot on it.

    fold: instead, `train` has TRAINING_VIDEOS videos of each task and `test` the others, drawn by
    this number; the paper averages over 20 draws. A step's text is its name in the release, "step N
    of TASK" where there is none. Raises DatasetError on other forms.
    """
    corpus = Corpus("crosstask", "CrossTask, 18 primary tasks (Zhukov et al. 2019)", {}, {})
    videos: dict[str, AnnotatedVideo] = {}
    tasks = (
        crosstask_release.read(annotations)
        if annotations.is_dir()
        else datasets.read_json(annotations, dict)
    )
    for task, content in tasks.items():
        if not isinstance(content, dict) or "crosstask_annotations" not in content:
            raise index.DatasetError(
                f"{annotations}: task {task!r} has no crosstask_annotations; expected CrossTask's "
                "tasks by number"
            )
        _describe(corpus, str(task), content)
        for name in content.get("unannotated", ()):
            corpus.drop(name, f"the release lists it for task {task}, without steps in time")
        for name, steps in content["crosstask_annotations"].items():
            video = _video(corpus, str(task), content, name, steps)
            if video.name in videos:
                corpus.drop(name, f"again in task {task}; its first annotation is kept")
                continue
            if not video.segments:
                corpus.drop(name, f"no step of task {task} in time")
                continue
            videos[video.name] = video
    in_order = [videos[name] for name in sorted(videos)]
    if fold is None:
        corpus.splits["primary"] = in_order
        corpus.protocols["primary"] = PROTOCOL
        return corpus
    train = _drawn(in_order, fold)
    corpus.splits["train"] = [video for video in in_order if video.name in train]
    corpus.splits["test"] = [video for video in in_order if video.name not in train]
    corpus.protocols["test"] = f"{PROTOCOL}_fold_{fold}"
    return corpus


def _drawn(videos: list[AnnotatedVideo], fold: int) -> set[str]:
    """Names of the training videos of a fold. Raises DatasetError where a task has too few."""
    tasks: dict[str, list[str]] = {}
    for video in videos:
        tasks.setdefault(str((video.annotation or {})["task"]), []).append(video.name)
    if few := [task for task, names in tasks.items() if len(names) <= TRAINING_VIDEOS]:
        raise index.DatasetError(
            f"task {few[0]} has {len(tasks[few[0]])} videos; a fold trains on {TRAINING_VIDEOS} of "
            "each and tests on the others: fetch all annotations, or leave --fold out"
        )
    drawn = set()
    for names in tasks.values():
        by_chance = sorted(names, key=lambda n: digests.sha256_bytes(f"{fold} {n}".encode()))
        drawn |= set(by_chance[:TRAINING_VIDEOS])
    return drawn


def _video(
    corpus: Corpus, task: str, content: dict[str, Any], name: str, steps: list[dict[str, Any]]
) -> AnnotatedVideo:
    title = str(content.get("task_full_name", task)).rstrip("0123456789")
    rows = [
        {
            "start": step.get("step_s"),
            "end": step.get("step_e"),
            "text": _text(content, step, title),
            "labels": {"task": task, "step": f"{task}_{step.get('step_id')}"},
        }
        for step in steps
    ]
    duration = content.get("video_duration", {}).get(name)
    segments = segments_of(corpus, name, rows)
    about = {
        "task": task,
        "duration": duration,
        "steps": [
            {"start": s.start, "end": s.end, "step": s.labels["step"].split("_")[1]}
            for s in segments
        ],
    }
    return AnnotatedVideo(video_ids.canonical(name), segments, about)


def _describe(corpus: Corpus, task: str, content: dict[str, Any]) -> None:
    """Notes the task's steps in order, and how they are said where the source says so."""
    names = content.get("steps", ())
    of_videos = content["crosstask_annotations"].values()
    numbers = [str(step.get("step_id")) for steps in of_videos for step in steps]
    count = len(names) or max((int(n) for n in numbers if n.isdigit()), default=0)
    if count > _MOST_STEPS:
        raise index.DatasetError(
            f"task {task} has a step {count}; expected numbers from 1 to its last step, "
            f"{_MOST_STEPS} at most: fetch the file again"
        )
    corpus.task_steps[task] = [f"{task}_{number}" for number in range(1, count + 1)]
    if names:
        steps = zip(corpus.task_steps[task], names, strict=True)
        corpus.surface_forms.setdefault("step", {}).update({step: [said] for step, said in steps})
        title = [str(content["task_full_name"])]
        corpus.surface_forms.setdefault("task", {})[task] = title


def _text(content: dict[str, Any], step: dict[str, Any], title: str) -> str:
    if "steps" in content:
        return content["steps"][step["step_id"] - 1]
    return f"step {step.get('step_id')} of {title}"
