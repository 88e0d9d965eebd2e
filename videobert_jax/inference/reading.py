"""Clip features of whatever an application has: a video file, frames, a file of features, arrays.

Video files and frames are extracted by the backbone that the model's contract names.
"""

import functools
import os
import pathlib
import warnings
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Shaped

from videobert_jax.files import arrays, errors, json_values
from videobert_jax.inference import inputs
from videobert_jax.inference.inputs import ClipFeatures, Frames, InputError
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.schema import EMBEDDED, FeatureContract
from videobert_jax.video import decode, extract
from videobert_jax.weights import backbones

MAXIMUM_SECONDS = 3600.0
FEATURES = (".npy", ".npz")  # how the names of files of clip features end
_DRAWN = f"{EMBEDDED[0]}_"  # how the names of the embedded corpus' videos begin: kitchen_0003


class VideoReader:
    """Reads videos for one model. backbone_weights: the published file of the contract's backbone,
    where no package brings it. maximum_seconds: of the longest video that is extracted."""

    def __init__(
        self,
        bundle: ModelBundle,
        backbone_weights: str | os.PathLike | None,
        maximum_seconds: float | int,
    ):
        self.contract = bundle.contract
        self._name = bundle.name
        self._backbone_weights = backbone_weights
        self._maximum_seconds = maximum_seconds
        names = [str(of["name"]) for of in bundle.trained_on.get("datasets", ())]
        self._warns = bool(names) and set(names) <= set(EMBEDDED)

    @functools.cached_property
    def extractor(self) -> extract.ClipExtractor:
        """Of the contract's features. Raises BackboneError, WeightsError, ClipError, MissingExtra,
        and ContractMismatch where those weights or clips are others than the contract's."""
        made = extract.ClipExtractor(*backbones.of_contract(self.contract, self._backbone_weights))
        self._verify(made.contract, f"the {made.backbone.name} of this package")
        return made

    def features(self, number: int, video: Any) -> Float[np.ndarray, "n c"]:
        """Clip features, float32, of video `number`, which may have NaN.

        Raises InputError on another shape, no clip or a video that is too long, ContractMismatch,
        VideoError, ArrayFileError, and what `extractor` does.
        """
        what = inputs.called(number, video)
        if isinstance(video, str | os.PathLike):
            path = pathlib.Path(video)
            if path.suffix in FEATURES:
                video = read_features(path)
            else:
                return self._of_file(path).astype(np.float32)
        if isinstance(video, Frames):
            return self._of_frames(what, video).astype(np.float32)
        if isinstance(video, ClipFeatures):
            self._verify(video.contract, what)
            video = video.features
        if isinstance(video, np.ndarray | jax.Array):
            inputs.require_no_frames(video)
        features = np.asarray(video, np.float32)
        dim = self.contract.dim
        if features.ndim != 2 or features.shape[1] != dim:
            raise InputError(
                f"{what} has the shape {list(features.shape)}; expected [n, {dim}]: "
                f"clip features of {self.contract.backbone}, layer {self.contract.layer}."
            )
        if not len(features):
            raise InputError(f"{what} has 0 clips; expected 1 or more.")
        return features

    def _of_file(self, path: pathlib.Path) -> Float[np.ndarray, "n c"]:
        if not path.is_file():
            raise decode.VideoError(
                f"{path} is not there; give the path of a video, or of clip features as .npy or "
                ".npz with their contract.json beside them"
            )
        seconds = decode.duration(path)
        self._require_short(str(path), seconds)
        self._warn_of_kitchen(path.stem)
        network = self.extractor.backbone
        fps = self.extractor.settings.fps
        frames = decode.read_frames(path, fps, network.side, network.squashed)
        features = self.extractor.features(self._counted(str(path), frames))
        if not len(features):
            raise decode.VideoError(f"{path} has no frames; check that the file is whole")
        return features

    def _of_frames(self, what: str, video: Frames) -> Float[np.ndarray, "n c"]:
        pixels = np.asarray(video.pixels)
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3 or not pixels.size:
            raise InputError(
                f"{what} has frames of {pixels.dtype} {list(pixels.shape)}; expected uint8 RGB "
                "[n, height, width, 3]."
            )
        if not 0 < video.fps < np.inf:
            raise InputError(f"{what} has {video.fps} frames a second; expected more than 0.")
        self._require_short(what, len(pixels) / video.fps)
        self._warn_of_kitchen("")
        network = self.extractor.backbone
        fps = self.extractor.settings.fps
        return self.extractor.features(
            decode.resampled(pixels, video.fps, fps, network.side, network.squashed)
        )

    def _counted(self, what: str, frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """The frames of a file that may be longer than it claims."""
        fps = self.extractor.settings.fps
        for number, frame in enumerate(frames):
            self._require_short(what, number / fps)
            yield frame

    def _require_short(self, what: str, seconds: float | int) -> None:
        if seconds > self._maximum_seconds:
            raise InputError(
                f"{what} lasts {seconds:,.0f} s or more; expected {self._maximum_seconds:,.0f} s "
                "at most: cut it, or load the model with another maximum_seconds (on the command "
                "line --max-seconds)."
            )

    def _verify(self, found: FeatureContract, what: str) -> None:
        if not found.verify_against(self.contract, found=what, expected=f"the model {self._name}"):
            self._warn_of_kitchen("")

    def _warn_of_kitchen(self, name: str) -> None:
        """Warns once of a video that is not of the embedded corpus, the only one known."""
        if self._warns and not name.startswith(_DRAWN):
            self._warns = False
            warnings.warn(
                f"{self._name} was trained on the embedded kitchen alone, drawn in 2D by one "
                "renderer: what it says of any other video means nothing.",
                inputs.InputWarning,
                stacklevel=2,
            )


def read_features(path: pathlib.Path) -> ClipFeatures:
    """Clip features of a .npy file, or of the array "features" of a .npz file (or its only one),
    with the contract.json beside it.

    Raises InputError, ContractMismatch or ArrayFileError where one of the two is not there or is
    damaged.
    """
    beside = path.with_name("contract.json")
    for file in (path, beside):
        if not file.is_file():
            raise InputError(
                f"{file} is not there; give FILE.npy of clip features [clips, dim] with the "
                "contract.json that says how they were made beside it, or a video."
            )
    contract = read_contract(beside)
    features = read_array(path)
    if features.ndim != 2 or features.shape[1] != contract.dim or features.dtype.kind != "f":
        raise InputError(
            f"{path} is {features.dtype} of the shape {list(features.shape)}, expected "
            f"[clips, {contract.dim}], numbers, as {beside} says; extract it anew."
        )
    return ClipFeatures(features, contract)


def read_contract(path: pathlib.Path) -> FeatureContract:
    """Raises InputError on a file that is no contract, ContractMismatch on one that lacks what must
    be known."""
    with errors.of_form(path, InputError, "it is no contract in JSON: write it anew"):
        return FeatureContract.from_json(json_values.parse(path.read_bytes()))


def read_array(path: pathlib.Path) -> Shaped[np.ndarray, "..."]:
    """That of a .npy file, or of a .npz file the only one or the one called "features". Raises
    InputError, ArrayFileError."""
    if path.suffix.lower() == ".npy":
        return arrays.read_npy(path)
    with arrays.open_npz(path) as archive:
        if "features" in archive.names:
            return archive.read("features")
        if len(archive.names) == 1:
            return archive.read(archive.names[0])
        raise InputError(
            f"{path} has the arrays {', '.join(archive.names[:8])}; expected one, or `features`."
        )
