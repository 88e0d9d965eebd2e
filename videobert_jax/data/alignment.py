"""What of a transcript is shown, and when: the lines of a split that come, and their clips.

Speech comes early or late, and much of it is about something else. An alignment, which
`videobert align` makes, has the lines that say what can be seen, each with the clips of the scene
that it is said over; `data.sources.NAME.alignment` gives it to a run, and the dataset stays as it
is, so that baselines and evaluation read the narration as it was spoken.
"""

import dataclasses
import os
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Int64

from videobert_jax.data import split_tables
from videobert_jax.data.index import Split
from videobert_jax.schema import FeatureContract

FORMAT, FORMAT_VERSION = "videobert_jax.alignment", 1


class AlignmentError(ValueError):
    """A file that is no alignment, or one of another split; a split that has none to make."""


@dataclasses.dataclass(frozen=True, eq=False)
class Alignment(split_tables.Table):
    """Of a split's N examples the K that are kept, in the order of the index, and the clips of all;
    columns are mapped. digest: of all that the file says. Pickles as its path."""

    KIND = split_tables.Kind(
        FORMAT,
        FORMAT_VERSION,
        what="an alignment of narration",
        command="align",
        setting="alignment",
        error=AlignmentError,
    )

    examples: np.ndarray  # int64 [K]
    first_clip: np.ndarray  # int32 [N]
    clip_count: np.ndarray  # int32 [N]

    def keeps(self, ids: Int64[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        """Whether each of these examples is kept; -1 is none."""
        place = np.minimum(np.searchsorted(self.examples, ids), len(self.examples) - 1)
        return self.examples[place] == ids


def of_scenes(
    start: float,
    end: float,
    first_clips: Int64[np.ndarray, " s"],
    num_clips: int,
    contract: FeatureContract,
) -> tuple[int, int] | None:
    """(first clip, number of clips) of the scene over which a line is said for the longest; None
    where it is said over none. start, end: seconds. first_clips: of the video's scenes.

    A scene lasts until half a stride from the centre of its last clip.
    """
    ends = np.append(first_clips[1:], num_clips)
    edge = contract.clip_seconds / 2 - contract.stride_seconds / 2
    begins_at, ends_at = (of * contract.stride_seconds + edge for of in (first_clips, ends))
    shared = np.minimum(end, ends_at) - np.maximum(start, begins_at)
    scene = int(np.argmax(shared))
    if shared[scene] <= 0:
        return None
    return int(first_clips[scene]), int(ends[scene] - first_clips[scene])


def write(
    path: str | os.PathLike,
    split: Split,
    examples: Int[np.ndarray, " k"],
    first_clip: Int[np.ndarray, " n"],
    clip_count: Int[np.ndarray, " n"],
    about: dict[str, Any],
) -> str:
    """Writes an alignment of a split, and gives its name, "FILE@DIGEST"; the file appears only when
    whole. Raises AlignmentError where no example is kept, or where clips are not those of all."""
    if not len(examples) or not len(first_clip) == len(clip_count) == len(split):
        raise AlignmentError(
            f"split {split.name!r} of {split.path}: {len(examples)} examples kept, clips of "
            f"{len(first_clip)} of {len(split)}; expected one or more, and clips of all"
        )
    columns = {
        "examples": np.asarray(examples, np.int64),
        "first_clip": np.asarray(first_clip, np.int32),
        "clip_count": np.asarray(clip_count, np.int32),
    }
    return Alignment.write(path, split, columns, {**about, "num_kept": len(examples)})


def load(name: str | os.PathLike) -> Alignment:
    """The alignment in "FILE", a file of `write`, or in "FILE@DIGEST". Raises AlignmentError where
    it is none, damaged, or has another digest."""
    return Alignment.load(name)
