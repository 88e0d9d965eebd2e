"""Videos that something is evaluated on, from files of any form, so that nothing trains on them.

The ids of public benchmarks do not ship with this project: they come with the benchmarks' own
files, which whoever evaluates on them has, and which change (videos vanish, splits are revised).
"""

import csv
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from videobert_jax.data import index, video_ids
from videobert_jax.data.datasets import crosstask_release, msrvtt
from videobert_jax.files import errors, json_values

_TRAINING = ("train", "transcripts")  # splits of these names' beginnings are trained on
_VIDEO = ("video_id", "vid_name", "clip_name", "video", "vid")  # what lists of questions call it


def read(files: Iterable[pathlib.Path]) -> set[str]:
    """Canonical ids of a prepared dataset's evaluation splits, of CrossTask's release, of
    annotations (JSON by video, or questions: a list, or .jsonl), of a csv with a column video_id,
    or of a list, one id a line.

    Of annotations that name subsets (`database`), the training subset is left out. A video that is
    but a number is a clip of MSR-VTT. Raises DatasetError where a file holds no ids.
    """
    found: set[str] = set()
    for file in files:
        with errors.of_form(file, index.DatasetError):
            ids = {video_ids.canonical(name) for name in _ids(file) if name.strip()}
        if not ids:
            raise index.DatasetError(f"{file}: no video ids; expected one a line, or annotations")
        found |= ids
    return found


def _ids(file: pathlib.Path) -> Iterator[str]:
    if (file / crosstask_release.TASKS_FILE).is_file():
        for task in crosstask_release.read(file).values():
            yield from task["crosstask_annotations"]
        return
    if file.is_dir():
        dataset = index.open_dataset(file, check_shards=False)
        for split in dataset.splits.values():
            if not split.name.startswith(_TRAINING):
                yield from split.videos
        return
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".json":
            yield from _of_json(json_values.parse(text))
        elif file.suffix == ".jsonl":
            yield from (
                _entry(json_values.parse(line)) for line in text.split("\n") if line.strip()
            )
        elif file.suffix == ".csv":
            yield from (row["video_id"] for row in csv.DictReader(text.splitlines()))
        else:
            yield from text.splitlines()
    except (OSError, ValueError, KeyError) as error:
        raise index.DatasetError(
            f"{file}: {type(error).__name__} {error}; expected annotations (.json, .jsonl), a csv "
            "with a column video_id, or one id a line"
        ) from error


def _of_json(content: Any) -> Iterator[str]:
    if isinstance(content, list):
        yield from map(_entry, content)
        return
    if not isinstance(content, dict):
        raise ValueError(f"JSON of type {type(content).__name__}")
    videos = content.get("database", content)
    for name, about in videos.items():
        if isinstance(about, dict) and "crosstask_annotations" in about:
            yield from about["crosstask_annotations"]
        elif (
            isinstance(about, dict)
            and about
            and all(isinstance(value, dict) and "relevant" in value for value in about.values())
        ):
            yield from about  # HiREST: videos by query
        elif not (isinstance(about, dict) and about.get("subset") == "training"):
            yield name


def _entry(entry: Any) -> str:
    """The video of a list's entry: its id, or what a question is about."""
    named = [entry[key] for key in _VIDEO if key in entry] if isinstance(entry, dict) else [entry]
    if named and isinstance(named[0], int):
        return msrvtt.clip_name(named[0])
    if not named or not isinstance(named[0], str):
        raise ValueError(f"{str(entry)[:80]!r} names no video")
    return named[0]
