"""What an index is made of: video files, and files of clip features that others extracted."""

import dataclasses
import io
import math
import os
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from videobert_jax.files import atomic, digests
from videobert_jax.files.errors import ArrayFileError
from videobert_jax.inference import reading
from videobert_jax.inference.inputs import InputError
from videobert_jax.schema import ContractMismatch, FeatureContract
from videobert_jax.search_index.errors import FatalMismatch, SearchIndexError
from videobert_jax.video import corpus, decode, extract

FEATURE_SUFFIXES = reading.FEATURES
CONTRACT_FILE = "contract.json"
Paths = Sequence[str | os.PathLike]


@runtime_checkable
class Extractor(Protocol):
    """What makes clip features of video files, such as `video.extract.ClipExtractor`."""

    @property
    def contract(self) -> FeatureContract: ...

    def video_features(self, path: str | os.PathLike) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class Source:
    """A file that is indexed under its absolute path; features: the file that has its clip
    features already, itself or one of its name beside it, None of a video without one.

    size and mtime_ns are of both files together: (bytes, latest change).
    """

    path: str
    features: str | None
    size: int
    mtime_ns: int

    @property
    def key(self) -> str:
        """Names this state of the file: another size or time of change gives another key."""
        return digests.sha256_json([self.path, self.size, self.mtime_ns])[:32]


def find(paths: Paths, without: pathlib.Path) -> list[Source]:
    """Videos and features that are named or lie below named folders, by path.

    without: a folder that is passed over, the index itself. Features beside a video of the same
    name are that video's. Raises SearchIndexError where a path is not there, and where there is
    nothing to index.
    """
    found: set[str] = set()
    for path in map(pathlib.Path, paths):
        if path.is_dir():
            found.update(_below(path, without))
        elif not path.exists():
            raise SearchIndexError(f"{path} is not there; give a folder of videos, or files.")
        elif _is_video(path) or _is_features(path):
            found.add(os.path.abspath(path))
        else:
            raise SearchIndexError(
                f"{path} is neither a video ({', '.join(corpus.SUFFIXES)}) nor clip features "
                f"({', '.join(FEATURE_SUFFIXES)})."
            )
    if not found:
        raise SearchIndexError(
            f"{', '.join(map(str, paths))}: no videos; expected files such as "
            f"{', '.join(corpus.SUFFIXES[:4])}, or clip features ({', '.join(FEATURE_SUFFIXES)})."
        )
    features = {os.path.splitext(path)[0]: path for path in found if _is_features(path)}
    videos = [path for path in found if _is_video(path)]
    named = {path: features.pop(os.path.splitext(path)[0], None) for path in videos}
    named.update({path: path for path in features.values()})
    return [_source(path, named[path]) for path in sorted(named)]


def _source(path: str, features: str | None) -> Source:
    try:
        states = [os.stat(file) for file in {path, features or path}]
    except OSError:  # such as a link to nothing: told when its turn comes
        return Source(path, features, 0, 0)
    size = sum(state.st_size for state in states)
    return Source(path, features, size, max(state.st_mtime_ns for state in states))


def _below(folder: pathlib.Path, without: pathlib.Path) -> list[str]:
    passed, found = os.path.abspath(without), []
    for parent, folders, files in os.walk(os.path.abspath(folder)):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and os.path.join(parent, name) != passed
        ]
        paths = [os.path.join(parent, name) for name in files if not name.startswith(".")]
        found += [path for path in paths if _is_video(path) or _is_features(path)]
    return found


def _is_video(path: str | pathlib.Path) -> bool:
    return pathlib.Path(path).suffix.lower() in corpus.SUFFIXES


def _is_features(path: str | pathlib.Path) -> bool:
    return pathlib.Path(path).suffix.lower() in FEATURE_SUFFIXES


class Features:
    """Clip features of sources: read, or extracted once and kept in `folder` for the next time.

    make_extractor is called when a video has to be extracted for the first time. maximum_seconds:
    of a video that is extracted.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        expected: FeatureContract,
        make_extractor: Callable[[], Extractor],
        maximum_seconds: float,
    ):
        self.folder, self._expected, self._make = folder, expected, make_extractor
        self._maximum_seconds = maximum_seconds
        self._extractor: Extractor | None = None

    def of(self, source: Source) -> Float[np.ndarray, "v c"]:
        """Features of all clips of a source.

        Raises VideoError where it is damaged or too long, ArrayFileError where it is damaged,
        ContractMismatch where it was made in another way than the model's features,
        SearchIndexError where its shape is wrong, FatalMismatch where that is so of every video.
        """
        if source.features is not None:
            return _checked(self._read(pathlib.Path(source.features)), source, self._expected)
        kept = self.folder / f"{source.key}.npy"
        if kept.exists():
            try:
                return _checked(self._read(kept), source, self._expected)
            except ArrayFileError as error:
                print(f"extracted anew: {error}", file=sys.stderr)
        features = self._extracted(source.path)
        buffer = io.BytesIO()
        np.save(buffer, features)
        atomic.write_bytes(kept, buffer.getvalue())
        return _checked(features, source, self._expected)

    def _extracted(self, path: str) -> np.ndarray:
        """Clip features of a video file. Raises VideoError as `video_features`, and where it claims
        to be longer than is wanted: the others would wait for it."""
        if math.isfinite(self._maximum_seconds):
            seconds = decode.duration(path)
            if seconds > self._maximum_seconds:
                raise decode.VideoError(
                    f"{path} lasts {seconds:,.0f} s; expected {self._maximum_seconds:,.0f} s at "
                    "most: cut it, or say --max-seconds."
                )
        return self._ready().video_features(path)

    def _ready(self) -> Extractor:
        """The extractor, whose features are those that the model and the folder have."""
        if self._extractor is None:
            made = self._make()
            try:
                made.contract.verify_against(
                    self._expected, found="the extractor", expected="the checkpoint"
                )
                self.folder.mkdir(parents=True, exist_ok=True)
                extract.check_contract(made.contract, self.folder / CONTRACT_FILE)
            except ContractMismatch as error:
                raise FatalMismatch(str(error)) from error
            self._extractor = made
        return self._extractor

    def _read(self, path: pathlib.Path) -> np.ndarray:
        beside = path.with_name(CONTRACT_FILE)
        if not beside.is_file():
            raise SearchIndexError(
                f"{path} has no {CONTRACT_FILE} beside it, which says how its clips were made; "
                "`videobert extract` writes one."
            )
        try:
            contract = reading.read_contract(beside)
        except (InputError, ContractMismatch) as error:
            raise SearchIndexError(str(error)) from error
        contract.verify_against(self._expected, found=str(path), expected="the checkpoint")
        try:
            return reading.read_array(path)
        except InputError as error:
            raise SearchIndexError(str(error)) from error


def _checked(features: np.ndarray, source: Source, expected: FeatureContract) -> np.ndarray:
    """Features as the model takes them. Raises SearchIndexError on another shape or NaN."""
    file = source.features or source.path
    if features.ndim != 2 or features.shape[1] != expected.dim or features.dtype.kind != "f":
        raise SearchIndexError(
            f"{file} has {features.dtype} of the shape {list(features.shape)}; expected floats "
            f"[clips, {expected.dim}]: extract it anew."
        )
    if not len(features):
        raise SearchIndexError(f"{file} has no clips; check that the file is whole.")
    damaged = int((~np.isfinite(features).all(axis=1)).sum())
    if damaged:
        raise SearchIndexError(
            f"{file} has NaN or infinite features in {damaged} of {len(features)} clips; extract "
            "it anew."
        )
    return features
