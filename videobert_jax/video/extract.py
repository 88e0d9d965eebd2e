"""Clip features of video files, video by video, resumable."""

import dataclasses
import io
import itertools
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float16

from videobert_jax.files import atomic, errors, json_values
from videobert_jax.schema import ContractMismatch, FeatureContract
from videobert_jax.video import clips, decode


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A frozen network: `apply(variables, uint8 clips) -> (features [g, c], logits [g, w])`.

    Frames are squares of `side` pixels: the centre of a picture whose shorter side was scaled to
    `side`, or, with `squashed`, of one scaled to that many pixels either way whatever its form.
    name, layer, dim (c) and weights_sha256 are what the contract of the features says.
    """

    name: str
    layer: str
    dim: int
    side: int
    weights_sha256: str
    variables: Any
    apply: Callable[..., Any]
    squashed: int | None = None

    @property
    def crop(self) -> str:
        """How frames are cut, in the words of a feature contract."""
        if self.squashed is None:
            return f"shorter side scaled, centre square, {self.side}"
        return f"both sides scaled to {self.squashed}, centre square, {self.side}"


class ClipExtractor:
    """Features of clips, computed `batch` clips at a time by one compiled program."""

    def __init__(self, backbone: Backbone, settings: clips.ClipSettings, batch: int = 4):
        """`batch`: clips at a time; of several devices each takes an equal share of it."""
        self.backbone = backbone
        self.settings = settings
        self.batch = batch
        self._apply = jax.jit(backbone.apply)
        devices = jax.local_devices()
        self._placed = None
        if len(devices) > 1 and batch % len(devices) == 0:
            mesh = Mesh(np.array(devices), ("clip",))
            self._placed = NamedSharding(mesh, PartitionSpec("clip"))
            replicated = NamedSharding(mesh, PartitionSpec())
            self._variables = jax.device_put(backbone.variables, replicated)
        else:
            self._variables = backbone.variables

    @property
    def contract(self) -> FeatureContract:
        """How the features are made."""
        return FeatureContract(
            backbone=self.backbone.name,
            weights_sha256=self.backbone.weights_sha256,
            layer=self.backbone.layer,
            dim=self.backbone.dim,
            fps=round(self.settings.fps, 4),
            frames_per_clip=self.settings.frames_per_clip,
            stride_seconds=self.settings.stride_seconds,
            crop=self.backbone.crop,
            normalised=False,
            dtype="float16",
        )

    def outputs(self, stream: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(features [g, c], logits [g, w]) of up to `batch` uint8 clips at a time, in order."""
        remaining = iter(stream)
        while group := list(itertools.islice(remaining, self.batch)):
            filled = np.stack(group + [group[-1]] * (self.batch - len(group)))
            if self._placed is not None:
                filled = jax.device_put(filled, self._placed)
            features, logits = self._apply(self._variables, filled)
            yield np.asarray(features)[: len(group)], np.asarray(logits)[: len(group)]

    def video_features(
        self, path: str | os.PathLike, frozen: bool = False
    ) -> Float16[np.ndarray, "v c"]:
        """Features of all clips of a video file. Raises VideoError where there is no frame.

        `frozen`: of each clip's middle frame, repeated: what is left of it without motion.
        """
        frames = decode.read_frames(
            path, self.settings.fps, self.backbone.side, self.backbone.squashed
        )
        features = self.features(frames, frozen)
        if not len(features):
            raise decode.VideoError(f"{path} has no frames; check that the file is whole")
        return features

    def features(
        self, frames: Iterable[np.ndarray], frozen: bool = False
    ) -> Float16[np.ndarray, "v c"]:
        """Features of all clips of frames as `decode.read_frames` gives them."""
        stream = clips.cut(frames, self.settings)
        if frozen:
            stream = (np.broadcast_to(clip[len(clip) // 2], clip.shape) for clip in stream)
        parts = [features for features, _ in self.outputs(stream)]
        return np.concatenate([np.zeros((0, self.backbone.dim), np.float32), *parts]).astype(
            np.float16
        )


def extract_videos(
    extractor: ClipExtractor,
    videos: Sequence[pathlib.Path],
    output: pathlib.Path,
    frozen: bool = False,
) -> list[pathlib.Path]:
    """Paths of one `NAME.npy` a video, float16 `[clips, c]`, with `contract.json` beside them.

    Files that are there already are kept, so that a stopped run continues where it was; those of
    another contract raise ContractMismatch. `frozen` as in `ClipExtractor.video_features`, to be
    kept in a folder of its own. Progress goes to stderr.
    """
    output.mkdir(parents=True, exist_ok=True)
    check_contract(extractor.contract, output / "contract.json")
    targets = [output / f"{video.stem}.npy" for video in videos]
    missing = [(v, t) for v, t in zip(videos, targets, strict=True) if not t.exists()]
    if len(missing) < len(targets):
        _say(f"{len(targets) - len(missing)} of {len(targets)} videos are there already")
    start, clip_count = time.monotonic(), 0
    for done, (video, target) in enumerate(missing, start=1):
        features = extractor.video_features(video, frozen)
        buffer = io.BytesIO()
        np.save(buffer, features)
        atomic.write_bytes(target, buffer.getvalue())
        clip_count += len(features)
        elapsed = time.monotonic() - start
        left = elapsed / done * (len(missing) - done)
        _say(f"{done}/{len(missing)} videos, {clip_count / elapsed:.2f} clips/s, {left:.0f} s left")
    return targets


def check_contract(contract: FeatureContract, path: pathlib.Path) -> None:
    """Writes a folder's contract; raises ContractMismatch where it has another already."""
    if path.exists():
        with errors.of_form(path, ContractMismatch, "write it anew"):
            stored = FeatureContract.from_json(json_values.parse(path.read_bytes()))
        contract.verify_against(stored, found="this extraction", expected=str(path))
    else:
        atomic.write_json(path, contract.to_json())


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
