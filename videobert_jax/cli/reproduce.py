"""`videobert reproduce milnce_youcook2`: a published figure again, from the published weights.

Zero-shot text-to-video retrieval on YouCook II's validation clips (Miech et al. 2020,
arXiv:1912.06430, table 3): MIL-NCE's S3D-G and its text tower, mean of 10 windows a clip, dot
product. Vectors are kept video by video in OUTPUT: a stopped run continues where it was.
"""

import argparse
import csv
import dataclasses
import io
import json
import pathlib
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from videobert_jax.inference.search import SearchModel

from videobert_jax.files import errors

HELP = "measure published weights by a published protocol"
COLUMNS = ("video_id", "start", "end", "text")
SUFFIXES = (".mp4", ".mkv", ".webm")
PUBLISHED = {"milnce_youcook2": "R@1 15.1, R@5 38.0, R@10 51.2, median rank 10 (Miech et al. 2020)"}


class ReproduceError(ValueError):
    """The files given are not those of the protocol."""


@dataclasses.dataclass(frozen=True)
class Step:
    """A query and its clip, in seconds of the video."""

    video: str
    start: float
    end: float
    text: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("result", choices=sorted(PUBLISHED), help="what to measure")
    for name, text in (
        ("weights", "s3d_howto100m.pth"),
        ("vocabulary", "s3d_dict.npy"),
        ("segments", "validation_youcook.csv: video_id, start, end, text"),
        ("videos", "folder of VIDEO_ID.mp4, .mkv or .webm, at any depth"),
        ("output", "folder of the result and of the vectors so far"),
    ):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True, help=text)
    parser.add_argument("--windows", type=int, default=10, help="of 2 s, spread over each clip")
    parser.add_argument(
        "--allow-missing", action="store_true", help="measure without the videos that are not there"
    )
    parser.add_argument(
        "--platform", default="", help="'cpu' says that an accelerator is left unused on purpose"
    )


def run(arguments: argparse.Namespace) -> int:
    """0 when the result is written. Raises ReproduceError, MissingExtra, and what loading does."""
    from videobert_jax.files import atomic, digests, extras
    from videobert_jax.inference import search
    from videobert_jax.training import hardware

    extras.require("av", "video")
    if arguments.windows < 1:
        raise ReproduceError(f"--windows={arguments.windows}: give a number above 0.")
    steps = read_steps(arguments.segments)
    videos = _videos(arguments.videos, steps, arguments.allow_missing)
    print(hardware.start(arguments.platform))
    model = search.load(arguments.weights, arguments.vocabulary)
    settings = {
        "result": arguments.result,
        "weights_sha256": model.weights_sha256,
        "vocabulary_sha256": digests.sha256_file(arguments.vocabulary),
        "segments_sha256": digests.sha256_file(arguments.segments),
        "windows": arguments.windows,
    }
    _settle(arguments.output, settings)
    texts = model.encode_text([step.text for step in steps])
    failures = _encode_videos(model, steps, videos, arguments.output, arguments.windows)
    result = {**settings, **_measure(steps, texts, arguments.output), "failures": failures}
    atomic.write_json(arguments.output / "result.json", result)
    print(_line(result), f"published: {PUBLISHED[arguments.result]}", sep="\n")
    return 0


def read_steps(path: pathlib.Path) -> list[Step]:
    """Rows of the protocol's table. Raises ReproduceError where one is not as it should be."""
    if not path.is_file():
        raise ReproduceError(f"{path} is not there; give MIL-NCE's csv/validation_youcook.csv.")
    with (
        open(path, encoding="utf-8", newline="") as file,
        errors.of_form(path, ReproduceError),
    ):
        table = csv.DictReader(file)
        if missing := set(COLUMNS) - set(table.fieldnames or ()):
            raise ReproduceError(f"{path} lacks the columns {sorted(missing)}; give {COLUMNS}.")
        steps = []
        for row in table:
            try:
                step = Step(row["video_id"], float(row["start"]), float(row["end"]), row["text"])
            except (TypeError, ValueError) as error:
                raise ReproduceError(f"{path}, line {table.line_num}: {error}.") from error
            if not 0 <= step.start < step.end < float("inf") or not step.video:
                raise ReproduceError(
                    f"{path}, line {table.line_num}: {step}; expected a video and 0 <= start < end."
                )
            steps.append(step)
    if not steps:
        raise ReproduceError(f"{path} has no rows; fetch it again.")
    return steps


def _videos(
    folder: pathlib.Path, steps: Iterable[Step], allow_missing: bool
) -> dict[str, pathlib.Path]:
    """File of each video that is there. Raises ReproduceError where some are not, or none is."""
    there = {path.stem: path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES}
    wanted = list(dict.fromkeys(step.video for step in steps))
    missing = [name for name in wanted if name not in there]
    if missing and (not allow_missing or len(missing) == len(wanted)):
        raise ReproduceError(
            f"{len(missing)} of {len(wanted)} videos are not in {folder}: {' '.join(missing)}. "
            "Fetch them, or measure without some by --allow-missing."
        )
    return {name: there[name] for name in wanted if name in there}


def _settle(output: pathlib.Path, settings: dict[str, Any]) -> None:
    """Raises ReproduceError where the vectors in `output` were made in another way."""
    from videobert_jax.files import atomic

    output.mkdir(parents=True, exist_ok=True)
    path = output / "settings.json"
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found != settings:
            differing = sorted(key for key in settings if found.get(key) != settings[key])
            raise ReproduceError(f"{output} holds vectors of other {differing}; give a new folder.")
    else:
        atomic.write_json(path, settings)


def _vectors(output: pathlib.Path, video: str) -> pathlib.Path:
    return output / "vectors" / f"{video}.npy"


def _encode_videos(
    model: "SearchModel",
    steps: list[Step],
    videos: dict[str, pathlib.Path],
    output: pathlib.Path,
    windows: int,
) -> list[dict[str, str]]:
    """Writes the vectors of every video's clips; gives the videos that failed, with reasons."""
    from videobert_jax.files import atomic
    from videobert_jax.video import decode

    (output / "vectors").mkdir(exist_ok=True)
    waiting = [name for name in videos if not _vectors(output, name).exists()]
    if len(waiting) < len(videos):
        _say(f"{len(videos) - len(waiting)} of {len(videos)} videos are there already")
    failures, clips, begin = [], 0, time.monotonic()
    for done, name in enumerate(waiting, start=1):
        segments = [(step.start, step.end) for step in steps if step.video == name]
        try:
            vectors = model.encode_segments(videos[name], segments, windows)
        except decode.VideoError as error:
            failures.append({"video": name, "reason": str(error)})
            _say(f"{name} is left out: {error}")
            continue
        buffer = io.BytesIO()
        np.save(buffer, vectors)
        atomic.write_bytes(_vectors(output, name), buffer.getvalue())
        clips += len(segments) * windows
        elapsed = time.monotonic() - begin
        left = elapsed / done * (len(waiting) - done)
        _say(f"{done}/{len(waiting)} videos, {clips / elapsed:.2f} clips/s, {left:.0f} s left")
    return failures


def _measure(steps: list[Step], texts: np.ndarray, output: pathlib.Path) -> dict[str, Any]:
    """Ranks among the clips that are there; also with the absent ones counted as misses."""
    from videobert_jax.files import arrays
    from videobert_jax.tasks.metrics import ranking

    places: dict[str, list[int]] = {}
    for place, step in enumerate(steps):
        places.setdefault(step.video, []).append(place)
    there = {name: own for name, own in places.items() if _vectors(output, name).exists()}
    if not there:
        raise ReproduceError("no video could be read; the reasons are above.")
    present = np.concatenate([np.array(own) for own in there.values()])
    vectors = np.concatenate([arrays.read_npy(_vectors(output, name)) for name in there])
    ranks = ranking.ranks(texts[present] @ vectors.T, np.arange(len(present)))
    figures = ranking.summary(ranks, "text_to_video")
    share = len(present) / len(steps)
    return {
        "expected": len(steps),
        "evaluated": len(present),
        "missing_videos": sorted(set(places) - set(there)),
        "metrics": figures,
        "metrics_absent_as_misses": {
            name: value * share for name, value in figures.items() if "_R" in name
        },
        "chance": ranking.chance(len(present), np.ones(len(present), int), "text_to_video"),
        "ties": ranking.TIES,
    }


def _line(result: dict[str, Any]) -> str:
    metrics = result["metrics"]
    recalls = ", ".join(f"R@{k} {100 * metrics[f'text_to_video_R{k}']:.1f}" for k in (1, 5, 10))
    return (
        f"{recalls}, median rank {metrics['text_to_video_median_rank']:g}, over "
        f"{result['evaluated']} of {result['expected']} clips"
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
