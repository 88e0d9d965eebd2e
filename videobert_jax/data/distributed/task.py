"""What is said of the videos of one part: all that a process needs to write it but the features."""

import dataclasses
import json
from collections.abc import Sequence

from videobert_jax.data import index, part
from videobert_jax.data.part import Annotation, Damaged
from videobert_jax.data.segments import Segment
from videobert_jax.files import errors, json_values


@dataclasses.dataclass(frozen=True)
class TaskVideo:
    """A video of a part. has_features: they are read from the source by its name."""

    name: str
    has_features: bool
    segments: Sequence[Segment]
    annotation: Annotation
    damaged: Damaged

    @property
    def row(self) -> list[str]:
        """Name and digest, as the finished part has them."""
        return [self.name, part.digest(self.segments, self.annotation)]


@dataclasses.dataclass
class Task:
    """The videos of part `key`, SPLIT-NUMBER; `first_video`: number of the first in its split."""

    key: str
    first_video: int
    videos: list[TaskVideo] = dataclasses.field(default_factory=list)

    @property
    def split(self) -> str:
        return self.key.rsplit("-", 1)[0]

    @property
    def num_segments(self) -> int:
        return sum(len(video.segments) for video in self.videos)

    def to_bytes(self) -> bytes:
        """JSON that `from_bytes` reads."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False).encode("utf-8")

    @classmethod
    def from_bytes(cls, content: bytes) -> "Task":
        remedy = "delete the folder `partial` and prepare the dataset anew"
        with errors.of_form("the task of a part", index.DatasetError, remedy):
            fields = json_values.parse(content)
            videos = [
                TaskVideo(**{**video, "segments": [_segment(row) for row in video["segments"]]})
                for video in fields["videos"]
            ]
            return cls(fields["key"], fields["first_video"], videos)


def _segment(row: dict) -> Segment:
    clips = row["clips"]
    return Segment(**{**row, "clips": None if clips is None else (clips[0], clips[1])})
