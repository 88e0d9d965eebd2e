"""The layouts in which features are published: which file holds which video, and how."""

import dataclasses
import functools
import os
import pathlib
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from videobert_jax.data import video_ids
from videobert_jax.data.importers import source
from videobert_jax.data.importers.source import (
    FeatureError,
    FeatureSource,
    Known,
    Read,
    Settings,
)
from videobert_jax.files import arrays, errors, hdf5, pickles, torch_files
from videobert_jax.files.errors import ArrayFileError

Videos = dict[str, Read]
Scan = Callable[[pathlib.Path], Videos]


@dataclasses.dataclass(frozen=True)
class Layout:
    """`scan` gives every video's reader; `parts` names columns of vectors that join networks'."""

    about: str
    scan: Scan
    known: Known
    parts: Mapping[str, slice] = dataclasses.field(default_factory=dict)


def open_source(
    layout: str, path: str | os.PathLike, settings: Settings | None = None
) -> FeatureSource:
    """The features in `path`, laid out as `layout` (of LAYOUTS), with their contract.

    Raises FeatureError where nothing of the layout is there, where two files are one video's, and
    where what is said of the features contradicts what is known.
    """
    settings = settings or Settings()
    if layout not in LAYOUTS:
        raise FeatureError(f"no layout {layout!r}; expected one of {', '.join(LAYOUTS)}")
    form, path = LAYOUTS[layout], pathlib.Path(path)
    if not path.exists():
        raise FeatureError(f"{path} is not there; give the {form.about}")
    try:
        with errors.of_form(path, FeatureError):
            return _open(layout, form, path, settings)
    except ArrayFileError as error:
        raise FeatureError(str(error)) from error


def _open(layout: str, form: Layout, path: pathlib.Path, settings: Settings) -> FeatureSource:
    videos = form.scan(path)
    if not videos:
        raise FeatureError(f"{path}: no features found; expected the {form.about}")
    columns, known = _columns(layout, form, settings.part)
    if path.is_dir() and (stored := source.stored_contract(path)) is not None:
        if settings != Settings():
            raise FeatureError(
                f"{path / 'contract.json'} says how these features were made; leave out --dim, "
                "--stride, --normalised, --part and --assert-contract"
            )
        return FeatureSource(stored, videos)
    if layout == "video_features" and settings.stride_seconds is None:
        settings = dataclasses.replace(settings, stride_seconds=_stride(path))

    def first() -> np.ndarray:
        values = videos[min(videos)]()
        return values[..., columns] if values.ndim else values

    contract, asserted = source.contract_of(known, settings, first)
    return FeatureSource(contract, videos, asserted, columns)


def _columns(layout: str, form: Layout, part: str | None) -> tuple[slice, Known]:
    if part is None:
        return slice(None), form.known
    if part not in form.parts:
        there = ", ".join(form.parts) or "none"
        raise FeatureError(f"--part={part}: the layout {layout} has the parts {there}")
    columns = form.parts[part]
    return columns, dataclasses.replace(form.known, backbone=part, dim=columns.stop - columns.start)


def _by_id(files: Iterable[tuple[str, Read]], where: pathlib.Path) -> Videos:
    """Readers by canonical id. Raises FeatureError where two are one video's."""
    videos: Videos = {}
    names: dict[str, str] = {}
    for name, read in files:
        video = video_ids.canonical(name)
        if video in videos:
            raise FeatureError(
                f"{where}: {names[video]!r} and {name!r} are features of one video, {video}; "
                "keep one of them"
            )
        videos[video], names[video] = read, name
    return videos


def _files(folder: pathlib.Path, *suffixes: str) -> list[pathlib.Path]:
    """Files below a folder whose names end so, in order; one file stands for itself."""
    found = [folder] if folder.is_file() else sorted(p for p in folder.rglob("*") if p.is_file())
    return [file for file in found if file.name.lower().endswith(suffixes)]


class _OneFile:
    """A file of many videos, opened once: its table of contents is as long as there are videos.

    Threads take turns. A fork opens it anew, for it and its parent have one place in the file.
    """

    def __init__(self, open_file: Callable[[], arrays.NpzFile | hdf5.Hdf5File]):
        self._open_file, self._turns = open_file, threading.Lock()
        self._open()

    def _open(self) -> None:
        self._file, self._owner = self._open_file(), os.getpid()
        weakref.finalize(self, self._file.close)

    @property
    def names(self) -> list[str]:
        return self._file.names

    def read(self, name: str) -> np.ndarray:
        """One of the arrays. Raises ArrayFileError."""
        with self._turns:
            if self._owner != os.getpid():
                self._open()
            return self._file.read(name)


def _npy(folder: pathlib.Path) -> Videos:
    files = _files(folder, ".npy")
    return _by_id(((f.name, functools.partial(arrays.read_npy, f)) for f in files), folder)


def _one_array(file: pathlib.Path) -> np.ndarray:
    with arrays.open_npz(file) as archive:
        name = "features" if "features" in archive.names else "".join(archive.names[:1])
        if name != "features" and len(archive.names) != 1:
            raise FeatureError(
                f"{file}: arrays {', '.join(archive.names[:8])}, expected one, or one called "
                "features"
            )
        return archive.read(name)


def _npz(path: pathlib.Path) -> Videos:
    """One archive of all videos, or a folder with an archive a video."""
    if path.is_file():
        file = _OneFile(functools.partial(arrays.open_npz, path))
        return _by_id(((name, functools.partial(file.read, name)) for name in file.names), path)
    files = _files(path, ".npz")
    return _by_id(((f.name, functools.partial(_one_array, f)) for f in files), path)


def _tensor(file: pathlib.Path) -> np.ndarray:
    value = torch_files.read_torch(file)
    if not isinstance(value, np.ndarray):
        raise FeatureError(f"{file}: a {type(value).__name__}, expected one tensor a file")
    return value.astype(np.float32) if value.dtype.kind not in "fiub" else value


def _torch(folder: pathlib.Path) -> Videos:
    files = _files(folder, ".pth.tar", ".pth", ".pt")
    return _by_id(((f.name, functools.partial(_tensor, f)) for f in files), folder)


def _pickle(path: pathlib.Path) -> Videos:
    content = pickles.read_pickle(path)
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, np.ndarray) for name, value in content.items()
    ):
        raise FeatureError(f"{path}: expected a dictionary of arrays by video id")
    return _by_id(((n, functools.partial(np.asarray, v)) for n, v in content.items()), path)


def _hdf5(path: pathlib.Path) -> Videos:
    """A dataset a video, by itself or as `features` in the video's group."""
    file = _OneFile(functools.partial(hdf5.Hdf5File, path))

    def video(name: str) -> str:
        parts = name.strip("/").split("/")
        return (
            parts[-2] if len(parts) > 1 and parts[-1] in ("features", "c3d_features") else parts[-1]
        )

    return _by_id(((video(n), functools.partial(file.read, n)) for n in file.names), path)


def _mmpt(folder: pathlib.Path) -> Videos:
    """Shards of VideoCLIP: `SPLIT_meta.pkl` {shard: [video ids]}, and a shard's `_data.npy` with
    all its videos' clips, one behind another, and `_starts.npy`, where each begins."""
    found: list[tuple[str, Read]] = []
    for meta in _files(folder, "_meta.pkl"):
        split = meta.name.removesuffix("_meta.pkl")
        shards = pickles.read_pickle(meta)
        if not isinstance(shards, dict):
            raise FeatureError(f"{meta}: a {type(shards).__name__}, expected {{shard: [ids]}}")
        for shard, names in shards.items():
            stem = meta.with_name(f"{split}_{shard}")
            starts = arrays.read_npy(stem.with_name(stem.name + "_starts.npy"))
            if starts.ndim != 1 or starts.dtype.kind not in "iu" or len(starts) != len(names) + 1:
                raise FeatureError(
                    f"{stem}_starts.npy: {starts.dtype} {list(starts.shape)}, expected "
                    f"{len(names) + 1} integers for {len(names)} videos"
                )
            found += [
                (name, functools.partial(_shard_part, stem, int(begin), int(end)))
                for name, begin, end in zip(names, starts[:-1], starts[1:], strict=True)
            ]
    return _by_id(found, folder)


def _shard_part(stem: pathlib.Path, begin: int, end: int) -> np.ndarray:
    values = arrays.read_npy(stem.with_name(stem.name + "_data.npy"), mapped=True)
    if not 0 <= begin <= end <= len(values):
        raise FeatureError(f"{stem}_data.npy: clips {begin} to {end} of {len(values)}")
    return np.array(values[begin:end])


_TIMES, _RATES = "_timestamps_ms.npy", "_fps.npy"


def _video_features(folder: pathlib.Path) -> Videos:
    """`STEM_TYPE.npy` with the moments of its clips in `STEM_timestamps_ms.npy`."""
    files = _files(folder, ".npy")
    streams: dict[tuple[pathlib.Path, str], list[pathlib.Path]] = {
        (f.parent, f.name.removesuffix(_TIMES)): [] for f in files if f.name.endswith(_TIMES)
    }
    for file in files:
        if not file.name.endswith((_TIMES, _RATES)):
            # of clip and clip_1, which both begin it, clip_1_rgb.npy belongs to the longer
            stem = file.name
            while "_" in stem:
                stem = stem.rpartition("_")[0]
                if (file.parent, stem) in streams:
                    streams[file.parent, stem].append(file)
                    break
    for (parent, stem), found in streams.items():
        if len(found) != 1:
            names = ", ".join(file.name for file in found) or "none"
            raise FeatureError(
                f"{parent}: features of {stem} in {names}; expected one {stem}_TYPE.npy (of "
                "several streams, such as rgb and flow, keep one in a folder of its own)"
            )
    return _by_id(
        (
            (f"{parent}/{stem}", functools.partial(arrays.read_npy, found[0]))
            for (parent, stem), found in streams.items()
        ),
        folder,
    )


def _stride(folder: pathlib.Path) -> float | None:
    """Seconds between clips by the timestamps of all videos with two clips or more."""
    strides = set()
    for file in _files(folder, _TIMES):
        moments = arrays.read_npy(file).astype(np.float64).reshape(-1)
        if len(moments) > 1:
            strides.add(round(float(np.median(np.diff(moments))) / 1000, 3))
    if len(strides) > 1 and max(strides) - min(strides) > 0.05 * max(strides):
        raise FeatureError(
            f"{folder}: clips every {min(strides):g} to {max(strides):g} s; a dataset has one "
            "stride: extract at a fixed rate (extraction_fps)"
        )
    return float(np.median(list(strides))) if strides else None


_VIDEO_FEATURES = "github.com/v-iashin/video_features, its documentation"
LAYOUTS: dict[str, Layout] = {
    "npy": Layout(
        "folder of STEM.npy, a video a file", _npy, Known("the file or the user says it")
    ),
    "npz": Layout(
        "one .npz of all videos, or a folder of STEM.npz", _npz, Known("the user says it")
    ),
    "howto100m_npy": Layout(
        "folder of *.mp4.npy of antoine77340/video_feature_extractor",
        _npy,
        Known("MIL-NCE and its feature extractor", "s3d_howto100m", stride_seconds=1.0),
    ),
    "hero_npz": Layout(
        "folder of *.npz of VALUE and HERO",
        _npz,
        Known("VALUE (Li et al. 2021)", "s3d_howto100m", stride_seconds=1.5),
    ),
    "univl_pickle": Layout(
        "pickle of UniVL, {video id: [clips, 1024]}; it is read into memory whole",
        _pickle,
        Known(
            "UniVL (Luo et al. 2020)",
            "s3d_howto100m",
            "mixed_5c",
            1024,
            stride_seconds=1.0,
            normalised=False,
        ),
    ),
    "mmpt": Layout(
        "folder of the shards of VideoCLIP (fairseq's MMPT)",
        _mmpt,
        Known(
            "VideoCLIP (Xu et al. 2021) and fairseq's MMPT",
            "s3d_howto100m",
            "fc",
            512,
            30.0,
            30,
            1.0,
            normalised=True,
        ),
    ),
    "hdf5": Layout(
        ".h5 file, a dataset a video or VIDEO/features", _hdf5, Known("the user says it")
    ),
    "video_features": Layout(
        "folder of STEM_TYPE.npy with STEM_timestamps_ms.npy (video_features)",
        _video_features,
        Known(_VIDEO_FEATURES),
    ),
    "tan": Layout(
        "folder of *.pth.tar of TAN, a tensor a video",
        _torch,
        Known("TAN (Han et al. 2022)", stride_seconds=1.0),
    ),
    "crosstask": Layout(
        "folder of *.npy of CrossTask, 3200 dimensions",
        _npy,
        Known(
            "CrossTask (Zhukov et al. 2019)",
            "i3d+resnet152+vggish",
            dim=3200,
            stride_seconds=1.0,
            normalised=False,
        ),
        {
            "i3d": slice(0, 1024),
            "resnet152": slice(1024, 3072),
            "vggish": slice(3072, 3200),
        },
    ),
    "frames": Layout(
        "folder of STEM.npy of frame features (CLIP and others), a vector a frame",
        _npy,
        Known("the user says it", frames_per_clip=1),
    ),
}
