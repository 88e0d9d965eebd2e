"""CrossTask as it was released: a folder of text and csv files (Zhukov et al. 2019)."""

import csv
import pathlib
from typing import Any

from videobert_jax.data import index

TASKS_FILE, ANNOTATIONS = "tasks_primary.txt", "annotations"
LISTS = ("videos.csv", "videos_val.csv")
_LINES = 5  # of a task: number, title, address, number of steps, the steps


def read(folder: pathlib.Path) -> dict[str, Any]:
    """Tasks of crosstask_release in the form of the JSON file that `crosstask.read` takes.

    tasks_primary.txt has five lines a task and an empty one behind; annotations/TASK_VIDEO.csv a
    step's number, from 1, start and end in seconds a line. Videos of these tasks that videos.csv or
    videos_val.csv (task, video, address), where they are there, list beyond that are `unannotated`.
    Raises DatasetError on other forms.
    """
    tasks = _tasks(folder / TASKS_FILE)
    files = sorted((folder / ANNOTATIONS).glob("*.csv"))
    if not files:
        raise index.DatasetError(f"{folder / ANNOTATIONS}: no TASK_VIDEO.csv; fetch the release")
    for file in files:
        task, _, video = file.stem.partition("_")
        if task in tasks:  # related tasks have no steps in time
            tasks[task]["crosstask_annotations"][video] = _steps(file, len(tasks[task]["steps"]))
    for name in LISTS:
        if (folder / name).is_file():
            for task, video in _listed(folder / name):
                if task in tasks and video not in tasks[task]["crosstask_annotations"]:
                    tasks[task]["unannotated"].append(video)
    return tasks


def _tasks(file: pathlib.Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise index.DatasetError(
            f"{file}: cannot be read ({error}); expected the folder crosstask_release"
        ) from error
    tasks = {}
    for block in text.replace("\r\n", "\n").strip().split("\n\n"):
        lines = block.split("\n")
        steps = lines[-1].split(",") if len(lines) == _LINES else []
        if not steps or not lines[3].strip().isdigit() or int(lines[3]) != len(steps):
            raise index.DatasetError(
                f"{file}: a task of {len(lines)} lines that begins {lines[0][:40]!r} with "
                f"{len(steps)} steps; expected number, title, address, number of steps and steps"
            )
        tasks[lines[0].strip()] = {
            "task_full_name": lines[1].strip(),
            "steps": [step.strip() for step in steps],
            "crosstask_annotations": {},
            "unannotated": [],
        }
    return tasks


def _listed(file: pathlib.Path) -> list[tuple[str, str]]:
    """(task, video) of a list; addresses are left out."""
    try:
        with open(file, newline="", encoding="utf-8") as opened:
            rows = [row for row in csv.reader(opened) if row]
        return [(task, video) for task, video, _ in rows]
    except (ValueError, csv.Error) as error:
        raise index.DatasetError(
            f"{file}: {error}; expected a video's task, id and address a line"
        ) from error


def _steps(file: pathlib.Path, num_steps: int) -> list[dict[str, Any]]:
    try:
        with open(file, newline="", encoding="utf-8") as opened:
            rows = [row for row in csv.reader(opened) if row]
        steps = [
            {"step_id": int(number), "step_s": float(start), "step_e": float(end)}
            for number, start, end in rows
        ]
    except (ValueError, csv.Error) as error:
        raise index.DatasetError(
            f"{file}: {error}; expected a step's number, start and end in seconds a line"
        ) from error
    if strange := [step["step_id"] for step in steps if not 1 <= step["step_id"] <= num_steps]:
        raise index.DatasetError(
            f"{file}: step {strange[0]}, its task has {num_steps}; fetch the release anew"
        )
    return steps
