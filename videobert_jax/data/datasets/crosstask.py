"""CrossTask (Zhukov et al. 2019): instructional videos with their steps in time."""

import pathlib
from typing import Any

from videobert_jax.data import datasets, index, video_ids
from videobert_jax.data.datasets import crosstask_release
from videobert_jax.data.datasets.annotated import AnnotatedVideo, Corpus, segments_of

PROTOCOL = "crosstask_primary_18"


def read(annotations: pathlib.Path) -> Corpus:
    """The primary tasks as the folder of the release (crosstask_release.py) or as one JSON file,
    `{task: {task_full_name, step2headline,
    crosstask_annotations {video: [{step_id, step_s, step_e}]}, video_duration}}` (YouwikiHow's
    form), all of it the split `primary`: CrossTask is evaluated zero-shot on it.

    A step's text is its name in the release, "step N of TASK" where there is none. Raises
    DatasetError on other forms.
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
        for name in content.get("unannotated", ()):
            corpus.drop(name, f"the release lists it for task {task}, without steps in time")
        for name, steps in content["crosstask_annotations"].items():
            video = _video(corpus, str(task), content, name, steps)
            if video.name in videos:
                corpus.drop(name, f"again in task {task}; its first annotation is kept")
                continue
            videos[video.name] = video
    corpus.splits["primary"] = [videos[name] for name in sorted(videos)]
    corpus.protocols["primary"] = PROTOCOL
    return corpus


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


def _text(content: dict[str, Any], step: dict[str, Any], title: str) -> str:
    if "steps" in content:
        return content["steps"][step["step_id"] - 1]
    return f"step {step.get('step_id')} of {title}"
