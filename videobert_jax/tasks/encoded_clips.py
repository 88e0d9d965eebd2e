"""Contextual states of clips in files, for other captioners: the features of VideoBERT, section 4.6
(Sun et al. 2019). One .npy a video or a segment, with how they were made and when they are beside.
"""

import dataclasses
import io
import json
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float16

from videobert_jax.data import clip_stream
from videobert_jax.data.clip_stream import WholeVideos
from videobert_jax.data.index import Dataset, Split
from videobert_jax.files import atomic, errors, json_values, progress
from videobert_jax.schema import FeatureContract
from videobert_jax.tasks import whole_videos
from videobert_jax.tasks.encoding import ModelRunner
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.whole_videos import VideoClips
from videobert_jax.text import templates

VIDEO, SEGMENT = UNITS = ("video", "segment")
FORMAT = "videobert_jax.encoded_clips"
CONTRACT_FILE, ABOUT_FILE, TIMES_FILE, FAILURES_FILE = (
    "contract.json",
    "encoding.json",
    "files.jsonl",
    "failures.jsonl",
)
_CLIPS_AT_A_TIME = 2048  # what a stop costs


@dataclasses.dataclass(frozen=True)
class Settings:
    """unit: what a file is of. template: sentence with [MASK] that clips read, "" for no text.
    window: clips that are encoded together; None: the longest segment, of whole videos the longest
    run of training."""

    unit: str = VIDEO
    template: str = ""
    window: int | None = None


@dataclasses.dataclass(frozen=True)
class File:
    """Clips of a split's video that are a file's, and the examples that lie in it."""

    name: str
    split: Split
    video: int
    first_clip: int
    num_clips: int
    examples: np.ndarray


class EncodedClips:
    """What a folder of states of splits holds, by one network and settings.

    files: those to be written; `listed`: with those that a second split has of the same video.
    """

    def __init__(
        self, runner: ModelRunner, dataset: Dataset, splits: Sequence[Split], settings: Settings
    ):
        """Raises EvaluationError and TemplateError on settings that the network cannot take, where
        a split has no clips, and where two have segments of one video."""
        self.runner, self.dataset, self.splits = runner, dataset, splits
        self.settings = settings
        self.sentence = _sentence(runner, settings.template)
        self.window = _window(runner, splits, settings)
        self.listed = [file for split in splits for file in _files(split, settings.unit)]
        self.files = _once(self.listed, settings.unit)

    @property
    def contract(self) -> FeatureContract:
        """How the states are made, as of any clip features."""
        made = self.dataset.contract
        text = f"beside {self.settings.template!r}, and its masks" if self.sentence else "no text"
        width = self.runner.bundle.config.embed_dim
        return dataclasses.replace(
            made,
            backbone=f"videobert_jax over {made.backbone}",
            weights_sha256=self.runner.bundle.digest,
            layer=f"cross-modal video states, {text}",
            dim=2 * width if self.sentence else width,
            normalised=False,
            dtype="float16",
        )

    @property
    def about(self) -> dict[str, Any]:
        """How the states were made, in full, and how clips lie in time."""
        bundle, contract = self.runner.bundle, self.dataset.contract
        width = bundle.config.embed_dim
        columns = {"clip": [0, width]}
        if self.sentence:
            columns["mean_of_masks"] = [width, 2 * width]
        return {
            "format": FORMAT,
            "version": 1,
            "checkpoint": {"step": bundle.step, "digest": bundle.digest, "weights": bundle.weights},
            "dataset": {
                "name": self.dataset.name,
                "digest": self.dataset.digest,
                "splits": [split.name for split in self.splits],
            },
            "unit": self.settings.unit,
            "template": self.settings.template or None,
            "window_clips": self.window,
            "columns": columns,
            "clip_begins_every_seconds": contract.stride_seconds,
            "clip_lasts_seconds": contract.covered_seconds(1),
            "made_of": contract.to_json(),
        }

    def write(self, output: pathlib.Path) -> list[dict[str, str]]:
        """Failures, each with "video" and "reason", also in failures.jsonl; writes what is missing.

        Raises EvaluationError where the folder holds states that were made otherwise.
        """
        output.mkdir(parents=True, exist_ok=True)
        self._begin(output)
        left = [file for file in self.files if not (output / file.name).exists()]
        if len(left) < len(self.files):
            kept = len(self.files) - len(left)
            print(f"{kept} of {len(self.files)} files are there already", file=sys.stderr)
        failures = []
        shown = progress.Progress("clips", sum(file.num_clips for file in left))
        for file, states in self._states(left):
            if states is None:
                name = file.split.videos[file.video]
                failures.append({"video": name, "file": file.name, "reason": "clips with NaN"})
            else:
                buffer = io.BytesIO()
                np.save(buffer, states)
                atomic.write_bytes(output / file.name, buffer.getvalue())
            shown.step(file.num_clips)
        atomic.write_json_lines(output / FAILURES_FILE, failures)
        return failures

    def _begin(self, output: pathlib.Path) -> None:
        """Writes what is told of the files; raises EvaluationError where it tells of others."""
        path, about = output / ABOUT_FILE, self.about
        if path.is_file():
            with errors.of_form(path, EvaluationError, "name another --output"):
                found = json_values.parse(path.read_bytes())
                differing = [key for key in about if found.get(key) != about[key]]
            if differing:
                told = ", ".join(f"{k}={found.get(k)!r}, not {about[k]!r}" for k in differing)
                raise EvaluationError(
                    f"{output} holds states that were made otherwise: {told}; name another "
                    "--output."
                )
        elif any(output.iterdir()):
            raise EvaluationError(
                f"{output} holds something else (no {ABOUT_FILE} is in it); name another --output."
            )
        else:
            atomic.write_json(path, about)
        atomic.write_json(output / CONTRACT_FILE, self.contract.to_json())
        lines = [json.dumps(self._times(file), ensure_ascii=False) for file in self.listed]
        atomic.write_text(output / TIMES_FILE, "\n".join(lines) + "\n")

    def _times(self, file: File) -> dict[str, Any]:
        """A line of files.jsonl: seconds of the file in its video, and of the segments in it with
        the rows that are theirs."""
        split, begin = file.split, file.first_clip
        stride = split.contract.stride_seconds
        covered = split.contract.covered_seconds(file.num_clips)
        examples = file.examples.tolist()
        return {
            "file": file.name,
            "split": split.name,
            "video": split.videos[file.video],
            "first_clip": begin,
            "num_clips": file.num_clips,
            "start": round(begin * stride, 6),
            "end": round(begin * stride + covered, 6),
            "segments": [
                {
                    "start": round(float(split.start[one]), 3),
                    "end": round(float(split.end[one]), 3),
                    "first_row": int(split.first_clip[one]) - begin,
                    "num_rows": int(split.clip_count[one]),
                    "text": text,
                }
                for one, text in zip(examples, split.texts(examples), strict=True)
            ],
        }

    def _states(
        self, files: Sequence[File]
    ) -> Iterator[tuple[File, Float16[np.ndarray, "n e"] | None]]:
        """Yields each file with its states, None where its video's clips are damaged."""
        for split in self.splits:
            of_videos: dict[int, list[File]] = {}
            for file in files:
                if file.split is split:
                    of_videos.setdefault(file.video, []).append(file)
            groups = clip_stream.whole_videos(
                split,
                np.array(sorted(of_videos), np.int64),
                clips_at_a_time=_CLIPS_AT_A_TIME,
                parallel_reads=self.runner.bundle.data.parallel_reads,
            )
            for of in groups:
                yield from self._states_of(of, of_videos)

    def _states_of(
        self, of: WholeVideos, of_videos: Mapping[int, Sequence[File]]
    ) -> Iterator[tuple[File, Float16[np.ndarray, "n e"] | None]]:
        """As `_states`, of some videos that were read."""
        chosen: list[File] = []
        parts: list[np.ndarray] = []
        for place, video in enumerate(of.videos.tolist()):
            for file in of_videos[video]:
                if of.damaged[place]:
                    yield file, None
                    continue
                begin = int(of.starts[place]) + file.first_clip
                chosen.append(file)
                parts.append(of.features[begin : begin + file.num_clips])
        if chosen:
            starts = np.cumsum([0, *map(len, parts)])
            clips = VideoClips(np.arange(len(parts)), starts, np.concatenate(parts))
            states = whole_videos.clip_states(self.runner, clips, self.window, self.sentence)
            yield from zip(chosen, np.split(states, starts[1:-1]), strict=True)


def _sentence(runner: ModelRunner, template: str) -> list[int]:
    if not template:
        return []
    sentence = templates.masked(template, runner.tokenizer)
    if len(sentence) > runner.bundle.maximum_pieces:
        raise templates.TemplateError(
            f"template {template!r} has {len(sentence)} pieces; {runner.bundle.name} reads "
            f"{runner.bundle.maximum_pieces} at most: name a shorter one."
        )
    return sentence


def _window(runner: ModelRunner, splits: Sequence[Split], settings: Settings) -> int:
    bundle = runner.bundle
    most = min(bundle.data.video_length, bundle.config.video.max_length)
    if settings.window is not None:
        if not 1 <= settings.window <= most:
            raise EvaluationError(
                f"--window={settings.window} clips; {bundle.name} reads 1 to {most} at a time."
            )
        return settings.window
    if settings.unit == VIDEO:
        return bundle.longest_run
    return min(most, max(int(split.clip_count.max(initial=1)) for split in splits))


def _files(split: Split, unit: str) -> list[File]:
    """The files of a split, in its order.

    Raises EvaluationError on names that no file can have, and where there are no clips.
    """
    found: list[File] = []
    bounds = np.searchsorted(split.video, np.arange(len(split.videos) + 1))
    for video, name in enumerate(split.videos):
        if not split.num_clips[video]:
            continue
        if pathlib.PurePath(name).name != name:
            raise EvaluationError(
                f"{split.path}: video {name!r} cannot name a file; prepare the dataset with ids "
                "without separators."
            )
        examples = np.arange(bounds[video], bounds[video + 1])
        examples = examples[split.clip_count[examples] > 0]
        if unit == VIDEO:
            found.append(
                File(f"{name}.npy", split, video, 0, int(split.num_clips[video]), examples)
            )
            continue
        for one in examples.tolist():
            number = one - int(bounds[video])
            first, count = int(split.first_clip[one]), int(split.clip_count[one])
            found.append(
                File(f"{name}_{number:04}.npy", split, video, first, count, np.array([one]))
            )
    if not found:
        raise EvaluationError(f"{split.path}: split {split.name!r} has no clips to encode.")
    return found


def _once(files: Sequence[File], unit: str) -> list[File]:
    """The files without those of videos that an earlier split has: the same clips.

    Raises EvaluationError where they are segments, which two splits may cut otherwise.
    """
    owners: dict[str, Split] = {}
    kept = []
    for file in files:
        name = file.split.videos[file.video]
        owner = owners.setdefault(name, file.split)
        if owner is file.split:
            kept.append(file)
        elif unit == SEGMENT:
            raise EvaluationError(
                f"splits {owner.name!r} and {file.split.name!r} both have segments of {name}; "
                "encode them by themselves, each to an --output of its own."
            )
    return kept
