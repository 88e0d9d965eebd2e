"""Clip features of a corpus of video files: clips of neighbouring videos share batches, decoding
runs ahead in a thread, finished videos are files, and what failed is told at the end."""

import dataclasses
import hashlib
import io
import pathlib
import queue
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from videobert_jax.files import atomic, errors
from videobert_jax.video import clips, decode, extract
from videobert_jax.video.extract import ClipExtractor

SUFFIXES = (
    ".mp4",
    ".m4v",
    ".mkv",
    ".webm",
    ".avi",
    ".mov",
    ".mpg",
    ".mpeg",
    ".flv",
    ".wmv",
    ".3gp",
)
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_AHEAD = 2  # batches that are decoded before they are needed
_PROGRESS_SECONDS = 5.0


class CorpusError(ValueError):
    """Videos that cannot be extracted as a corpus."""


def find(source: pathlib.Path) -> list[pathlib.Path]:
    """Videos (and pictures) below a folder, or of a list with a path a line, sorted by name.

    Raises CorpusError where there are none, and where two have one stem: features are named by it.
    """
    if source.is_dir():
        found = [
            path
            for path in source.rglob("*")
            if path.suffix.lower() in (*SUFFIXES, *PICTURES) and not path.is_dir()
        ]
    elif source.suffix.lower() in (*SUFFIXES, *PICTURES):
        found = [source]
    elif source.is_file():
        with errors.of_form(source, CorpusError, "expected a video's path a line, in UTF-8"):
            lines = source.read_text(encoding="utf-8").splitlines()
        found = [source.parent / line.strip() for line in lines if line.strip()]
    else:
        raise CorpusError(f"{source} is not there; give a folder of videos, or a list of paths")
    if not found:
        raise CorpusError(f"{source}: no videos; expected files such as {', '.join(SUFFIXES[:4])}")
    by_stem: dict[str, pathlib.Path] = {}
    for path in sorted(found, key=lambda path: (path.stem, str(path))):
        if path.stem in by_stem and by_stem[path.stem] != path:
            raise CorpusError(
                f"{by_stem[path.stem]} and {path} have one name, which their features would share; "
                "rename one of them"
            )
        by_stem[path.stem] = path
    return list(by_stem.values())


def shard_of(videos: Sequence[pathlib.Path], number: int, count: int) -> list[pathlib.Path]:
    """The videos of shard `number` (from 0) of `count`, by a hash of their names: the same whatever
    other videos there are."""
    return [
        video
        for video in videos
        if int.from_bytes(hashlib.sha256(video.stem.encode()).digest()[:8], "big") % count == number
    ]


@dataclasses.dataclass
class _Video:
    """A video on its way: features so far, clips not yet computed, whether all were decoded."""

    path: pathlib.Path
    features: list[np.ndarray] = dataclasses.field(default_factory=list)
    waiting: int = 0
    decoded: bool = False


def failures_file(number: int = 1, count: int = 1) -> str:
    """Of a share of the videos, 1 to `count`: each has its own, for several may be under way."""
    return "failures.jsonl" if count == 1 else f"failures-{number}-of-{count}.jsonl"


def extract_corpus(
    extractor: ClipExtractor,
    videos: Sequence[pathlib.Path],
    output: pathlib.Path,
    stills: bool,
    told_in: str = failures_file(),
) -> list[dict[str, Any]]:
    """Failures, each with "video", "stage" and "reason"; writes `STEM.npy` float16 [clips, c] a
    video, with contract.json beside them, and the failures to the file `told_in`.

    Files that are there are kept. `stills`: of each clip the middle frame alone, repeated. Raises
    ContractMismatch where the folder holds features of another contract.
    """
    output.mkdir(parents=True, exist_ok=True)
    extract.check_contract(extractor.contract, output / "contract.json")
    left = [video for video in videos if not (output / f"{video.stem}.npy").exists()]
    if len(left) < len(videos):
        _say(f"{len(videos) - len(left)} of {len(videos)} videos are there already")
    run = _Run(extractor, left, output)
    run.estimate()
    run.extract(stills)
    atomic.write_json_lines(output / told_in, run.failures)
    return run.failures


class _Run:
    def __init__(self, extractor: ClipExtractor, videos: list[pathlib.Path], output: pathlib.Path):
        self.extractor, self.videos, self.output = extractor, videos, output
        self.failures: list[dict[str, Any]] = []
        self._open: dict[int, _Video] = {}
        self._group: list[tuple[int, np.ndarray]] = []
        self._clips = self._videos_done = 0
        self._expected = 0.0
        self._start = self._shown = time.monotonic()

    def estimate(self) -> None:
        """Says how much there is to do, by what the files claim of their length."""
        seconds = 0.0
        for video in self.videos:
            try:
                seconds += decode.duration(video)
            except decode.VideoError:
                continue  # it is told when its turn comes
        self._expected = seconds / self.extractor.settings.stride_seconds
        if self.videos:
            _say(
                f"{len(self.videos)} videos of {seconds / 3600:.2f} hours, about "
                f"{self._expected:,.0f} clips"
            )
        self._start = self._shown = time.monotonic()

    def extract(self, stills: bool) -> None:
        for number, clip, reason in self._decoded(stills):
            video = self._open.setdefault(number, _Video(self.videos[number]))
            if reason is not None:
                self._fail(number, "decode", reason)
            elif clip is None:
                video.decoded = True
                self._close(number)
            else:
                video.waiting += 1
                self._group.append((number, clip))
                if len(self._group) == self.extractor.batch:
                    self._compute()
        self._compute()

    def _decoded(self, stills: bool) -> Iterator[tuple[int, np.ndarray | None, str | None]]:
        """(video, clip, None), (video, None, None) at its end, (video, None, reason) of a failure:
        from a thread that is a few batches ahead."""
        made: queue.Queue[Any] = queue.Queue(_AHEAD * self.extractor.batch)
        stopped = threading.Event()

        def put(entry: Any) -> None:
            while not stopped.is_set():
                try:
                    return made.put(entry, timeout=0.2)
                except queue.Full:
                    continue

        def decode_all() -> None:
            for number, video in enumerate(self.videos):
                try:
                    for clip in self._clips_of(video, stills):
                        put((number, clip, None))
                        if stopped.is_set():
                            return
                    put((number, None, None))
                except (ValueError, OSError, MemoryError) as error:
                    put((number, None, f"{type(error).__name__}: {error}"))
            put(None)

        thread = threading.Thread(target=decode_all, name="decode", daemon=True)
        thread.start()
        try:
            while (entry := made.get()) is not None:
                yield entry
        finally:
            stopped.set()
            thread.join()

    def _clips_of(self, video: pathlib.Path, stills: bool) -> Iterator[np.ndarray]:
        backbone, settings = self.extractor.backbone, self.extractor.settings
        frames = decode.read_frames(video, settings.fps, backbone.side, backbone.squashed)
        is_empty = True
        for clip in clips.cut(frames, settings):
            is_empty = False
            yield np.broadcast_to(clip[len(clip) // 2], clip.shape) if stills else clip
        if is_empty:
            raise decode.VideoError(f"{video} has no frames; check that the file is whole")

    def _compute(self) -> None:
        if not self._group:
            return
        ((features, _),) = self.extractor.outputs(clip for _, clip in self._group)
        for (number, _), feature in zip(self._group, features, strict=True):
            if number in self._open:
                self._open[number].features.append(feature)
                self._open[number].waiting -= 1
        self._clips += len(self._group)
        finished = {number for number, _ in self._group}
        self._group = []
        for number in sorted(finished):
            self._close(number)
        self._progress()

    def _close(self, number: int) -> None:
        """Writes a video whose last clip is computed."""
        video = self._open.get(number)
        if video is None or video.waiting or not video.decoded:
            return
        del self._open[number]
        features = np.stack(video.features).astype(np.float16)
        damaged = int((~np.isfinite(features).all(axis=1)).sum())
        if damaged:
            self.failures.append(
                self._failure(video.path, "network", f"{damaged} clips are NaN or infinite")
            )
            return
        buffer = io.BytesIO()
        np.save(buffer, features)
        atomic.write_bytes(self.output / f"{video.path.stem}.npy", buffer.getvalue())
        self._videos_done += 1

    def _fail(self, number: int, stage: str, reason: str) -> None:
        self._open.pop(number, None)
        self._group = [(n, clip) for n, clip in self._group if n != number]
        self.failures.append(self._failure(self.videos[number], stage, reason))

    @staticmethod
    def _failure(video: pathlib.Path, stage: str, reason: str) -> dict[str, Any]:
        return {"video": str(video), "stage": stage, "reason": reason}

    def _progress(self) -> None:
        now = time.monotonic()
        if now - self._shown < _PROGRESS_SECONDS:
            return
        self._shown, rate = now, self._clips / (now - self._start)
        left = max(self._expected - self._clips, 0) / rate
        _say(
            f"{self._videos_done}/{len(self.videos)} videos, {self._clips:,} clips, "
            f"{rate:.2f} clips/s, {left:,.0f} s left"
        )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
