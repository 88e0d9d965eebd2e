"""A dataset of one's own videos: features extracted from them, and what is said in them."""

import hashlib
import pathlib
import types
from collections.abc import Iterable, Mapping
from typing import Any

from videobert_jax.data import index, writer
from videobert_jax.data.datasets import narration
from videobert_jax.data.importers import FeatureError, FeatureSource
from videobert_jax.data.segments import Segment

NAME = "videos"
SILENT_SECONDS = 16.0  # of an example without words; VideoBERT takes 16 visual words


def write(
    source: FeatureSource,
    said: Mapping[str, pathlib.Path],
    output: pathlib.Path,
    validation_fraction: float,
    failures: Iterable[dict[str, Any]] = (),
    asked: Mapping[str, str] = types.MappingProxyType({}),
) -> index.Dataset:
    """The dataset of all videos of `source`, with `failures.jsonl` where something was left out.

    `said`: the file of a video's transcript, whose sentences are its examples. Without one, or with
    a damaged one, runs of 16 seconds are, without captions. `validation_fraction` of the videos,
    chosen by a hash of their names, make the split `validation`. asked: as of annotated.Choices.
    """
    told = list(failures)

    def tell(video: str, reason: str) -> None:
        told.append({"video": video, "stage": "transcript", "reason": reason})

    splits: dict[str, list[str]] = {"train": [], "validation": []}
    for name in source.names:
        splits["validation" if share(name) < validation_fraction else "train"].append(name)
    out = writer.DatasetWriter(
        output,
        NAME,
        source.contract,
        metadata={
            "regime": "text_video",
            "notes": "videos of one's own with their transcripts",
            index.ASKED: dict(asked),
        },
        num_videos={split: len(names) for split, names in splits.items()},
    )
    for split, names in splits.items():
        for name in names:
            try:
                features = source.features(name)
            except FeatureError as error:
                told.append({"video": name, "stage": "features", "reason": str(error)})
                continue
            seconds = len(features) * source.contract.stride_seconds
            spoken = narration.read(name, said[name], seconds, tell) if name in said else None
            segments = narration.segments(spoken) or silent(seconds)
            out.add_video(split, name, features, segments)
    return out.finish(told)


def share(name: str) -> float:
    """A number from 0 to 1 that a video's name alone decides."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def silent(seconds: float) -> list[Segment]:
    """Runs of a video without captions, the last one as long as is left."""
    count = max(1, int(-(-seconds // SILENT_SECONDS)))
    edges = [min(i * SILENT_SECONDS, seconds) for i in range(count + 1)]
    return [Segment(start, end, "") for start, end in zip(edges, edges[1:], strict=False)]
