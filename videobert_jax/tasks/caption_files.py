"""Another system's captions, read from a file and put in the order of the segments of a split.

A JSON list or a line an object, each with the caption and the id of an example: `id`, `image_id` as
in pycocoevalcap's results, or `example_id` as in the lines beside a result. An id is the number of
an example, of which any of a segment will do, or the name of a video that has one segment.
"""

import collections
from collections.abc import Mapping
from typing import Any

from videobert_jax.data.index import Split
from videobert_jax.files import json_values, storage
from videobert_jax.tasks.caption_results import References
from videobert_jax.tasks.errors import EvaluationError

IDS = ("id", "image_id", "example_id")
_SHOWN = 3  # ids in a message


def read(file: storage.Path, split: Split, references: References) -> list[str]:
    """The caption of each of the references' segments.

    Raises EvaluationError where the file holds something else, no caption, two of one segment, none
    of another, or one of what is no segment with references.
    """
    segments = _segments(split, references)
    found: dict[int, str] = {}
    unknown = []
    entries = _entries(file)
    for where, entry in entries:
        one, caption = _told(where, entry)
        segment = segments.get(one)
        if segment is None:
            unknown.append(one)
        elif segment in found:
            raise EvaluationError(
                f"{where}: a second caption of segment {segment} (id {one!r}); keep the best one "
                "of each."
            )
        else:
            _require_same_video(where, entry, split, segment)
            found[segment] = caption
    missing = [one for one in references.ids.tolist() if one not in found]
    if missing or unknown:
        raise EvaluationError(
            f"{file}: {len(missing)} of the {len(references.ids)} segments with captions of split "
            f"{split.name!r} are not there (the first are {missing[:_SHOWN]}), {len(unknown)} ids "
            f"are none of them (the first are {unknown[:_SHOWN]}); ids are example ids, or names "
            "of videos with one segment."
        )
    return [found[one] for one in references.ids.tolist()]


def _segments(split: Split, references: References) -> dict[Any, int]:
    """Whatever names a segment -> its first example."""
    firsts = references.ids.tolist()
    videos = [split.videos[int(split.video[first])] for first in firsts]
    times = collections.Counter(videos)
    named = {video: first for video, first in zip(videos, firsts, strict=True) if times[video] == 1}
    numbered = {
        example: first
        for first, examples in zip(firsts, references.examples, strict=True)
        for example in examples
    }
    return named | numbered


def _entries(file: storage.Path) -> list[tuple[str, Any]]:
    """(where it stands, what it is) of every entry."""
    try:
        text = file.read_text(encoding="utf-8")
        if text.lstrip().startswith("["):
            entries = [
                (f"{file}, entry {n}", of) for n, of in enumerate(json_values.parse(text), 1)
            ]
        else:
            # By "\n" alone: texts may hold other separators of lines, such as U+2028.
            lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
            entries = [(f"{file}, line {n}", json_values.parse(line)) for n, line in lines]
    except ValueError as error:
        raise EvaluationError(
            f"{file}: neither a JSON list nor a JSON object a line ({error}); each is to have the "
            "id of an example and its caption."
        ) from error
    if not entries:
        raise EvaluationError(f"{file}: no caption in it; look into the file of predictions.")
    return entries


def _told(where: str, entry: Any) -> tuple[int | str, str]:
    """(id, caption) of an entry."""
    fields = entry if isinstance(entry, Mapping) else {}
    named = [name for name in IDS if name in fields]
    one = fields[named[0]] if named else None
    caption = fields.get("caption")
    if len(named) == 1 and isinstance(one, int | str) and isinstance(caption, str):
        return one, caption
    raise EvaluationError(
        f"{where}: {str(entry)[:60]!r}; expected an object with one of {', '.join(IDS)}, a "
        "number or a name, and `caption`, a text."
    )


def _require_same_video(where: str, entry: Mapping[str, Any], split: Split, segment: int) -> None:
    """Raises EvaluationError where an entry says that its example is of another video."""
    video = split.videos[int(split.video[segment])]
    if entry.get("video", video) != video:
        raise EvaluationError(
            f"{where}: video of example {segment} is {entry['video']!r}, in the dataset {video!r}; "
            "the captions are of another dataset or split."
        )
