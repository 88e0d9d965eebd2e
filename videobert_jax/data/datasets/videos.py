"""A dataset of one's own videos: features extracted from them, and what is said in them."""

import hashlib
import pathlib
from collections.abc import Iterable
from typing import Any

from videobert_jax.data import index, video_ids, writer
from videobert_jax.data.importers import FeatureError, FeatureSource
from videobert_jax.data.segments import Segment
from videobert_jax.text import transcripts
from videobert_jax.text.transcripts import TranscriptError, sentences

NAME = "videos"
SUFFIXES = (".vtt", ".srt", ".json3", ".json", ".csv")
SILENT_SECONDS = 16.0  # of an example without words; VideoBERT takes 16 visual words


def write(
    source: FeatureSource,
    transcripts_folder: pathlib.Path | None,
    output: pathlib.Path,
    validation_fraction: float,
    failures: Iterable[dict[str, Any]] = (),
) -> index.Dataset:
    """The dataset of all videos of `source`, with `failures.jsonl` where something was left out.

    A video's transcript is the file of its name in the folder; sentences are its examples. Without
    one, or with a damaged one, runs of 16 seconds are, without captions. `validation_fraction` of
    the videos, chosen by a hash of their names, make the split `validation`.
    """
    told = list(failures)
    said = {} if transcripts_folder is None else _transcripts(transcripts_folder)
    splits: dict[str, list[str]] = {"train": [], "validation": []}
    for name in source.names:
        splits["validation" if share(name) < validation_fraction else "train"].append(name)
    out = writer.DatasetWriter(
        output,
        NAME,
        source.contract,
        metadata={"regime": "text_video", "notes": "videos of one's own with their transcripts"},
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
            segments = _segments(name, said.get(name), seconds, told)
            out.add_video(split, name, features, segments or silent(seconds))
    return out.finish(told)


def share(name: str) -> float:
    """A number from 0 to 1 that a video's name alone decides."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def silent(seconds: float) -> list[Segment]:
    """Runs of a video without captions, the last one as long as is left."""
    count = max(1, int(-(-seconds // SILENT_SECONDS)))
    edges = [min(i * SILENT_SECONDS, seconds) for i in range(count + 1)]
    return [Segment(start, end, "") for start, end in zip(edges, edges[1:], strict=False)]


def _transcripts(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Files by the video they are of. Raises DatasetError where one has two."""
    if not folder.is_dir():
        raise index.DatasetError(f"{folder}: no folder; give --transcripts DIR")
    found: dict[str, pathlib.Path] = {}
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() not in SUFFIXES:
            continue
        # YouTube's files name their language: VIDEO.en.vtt.
        stem = file.name.removesuffix(file.suffix)
        language = stem.rsplit(".", 1)[-1]
        if language != stem and len(language) <= 5:
            stem = stem.rsplit(".", 1)[0]
        video = video_ids.canonical(stem)
        if video in found:
            raise index.DatasetError(
                f"{found[video]} and {file} are transcripts of one video; keep one of them"
            )
        found[video] = file
    return found


def _segments(
    name: str, file: pathlib.Path | None, seconds: float, told: list[dict[str, Any]]
) -> list[Segment]:
    if file is None:
        return []
    try:
        transcript = transcripts.read_transcript(file, duration=seconds)
    except TranscriptError as error:
        told.append({"video": name, "stage": "transcript", "reason": str(error)})
        return []
    told += [
        {"video": name, "stage": "transcript", "reason": f"{file.name}: {reason}"}
        for reason in transcript.dropped
    ]
    return [Segment(cue.start, cue.end, cue.text) for cue in sentences.of_cues(transcript.cues)]
