"""The corpus as it ships with the package: clip features, steps and transcripts of every video.

    assets/contract.json           how the features were made
    assets/manifest.json           sha256 and size of every file, how many videos, notes
    assets/transcripts.jsonl       words of further videos, which nobody rendered
    assets/videos-000.jsonl        a shard: one video a line: split, steps with labels and
                                   sentence, cues, number of clips
    assets/features-000.npz        its clip features: int8 [clips, dim], float32 scale [dim]
    assets/frozen-000.npz          the same of frozen clips, where its videos have them

Reading needs neither the renderer nor a video library nor the backbone's weights.
"""

import dataclasses
import importlib.resources
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float16, Float32, Int8

from videobert_jax.files import arrays, atomic, digests
from videobert_jax.kitchen.narration import Cue
from videobert_jax.schema import FeatureContract

SHARD_VIDEOS = 40
NOTES = (
    "Drawn in 2D by one renderer and narrated by templates: figures measured on it say nothing "
    "about real cooking video. Shipped as int8 with a scale a dimension and file."
)
REMEDY = "install videobert-jax again"


class AssetsError(ValueError):
    """The files of the corpus are missing or not what their manifest says."""


@dataclasses.dataclass(frozen=True)
class StepRecord:
    """A step: exact interval in seconds, labels, and the sentence that describes it."""

    start: float
    end: float
    verb: str
    object: str
    container: str
    tool: str
    sentence: str


@dataclasses.dataclass(frozen=True)
class VideoRecord:
    """A video of the corpus; features are float16 `[clips, dim]`.

    `frozen`: the same of clips that repeat their middle frame, of some videos alone.
    """

    name: str
    split: str
    seconds: float
    steps: tuple[StepRecord, ...]
    cues: tuple[Cue, ...]
    features: Float16[np.ndarray, "v c"]
    frozen: Float16[np.ndarray, "v c"] | None = None


@dataclasses.dataclass(frozen=True)
class KitchenAssets:
    """Everything that ships: videos in order of their names, and further transcripts."""

    contract: FeatureContract
    videos: tuple[VideoRecord, ...]
    transcripts: dict[str, tuple[Cue, ...]]


def quantise(
    features: Float16[np.ndarray, "v c"],
) -> tuple[Int8[np.ndarray, "v c"], Float32[np.ndarray, " c"]]:
    """(int8 values, scale a dimension) such that values * scale is within scale / 2 of the input.

    Raises AssetsError where a feature is not finite.
    """
    wide = features.astype(np.float32)
    if not np.isfinite(wide).all():
        raise AssetsError("features hold NaN or infinity; extract them again")
    largest = np.abs(wide).max(axis=0)
    scale = (np.where(largest > 0, largest, 1) / 127).astype(np.float32)
    return np.rint(wide / scale).clip(-127, 127).astype(np.int8), scale


def dequantise(
    values: Int8[np.ndarray, "v c"], scale: Float32[np.ndarray, " c"]
) -> Float16[np.ndarray, "v c"]:
    """float16 features of shipped values."""
    return (values.astype(np.float32) * scale).astype(np.float16)


def load(folder: pathlib.Path | None = None) -> KitchenAssets:
    """The shipped corpus, or that of another folder of assets.

    Raises AssetsError where a file is missing, damaged, or of another length than expected.
    """
    package = importlib.resources.files("videobert_jax.kitchen")
    with importlib.resources.as_file(package / "assets") as shipped:
        return _read(folder or shipped)


def _read(folder: pathlib.Path) -> KitchenAssets:
    manifest = json.loads(_checked(folder, "manifest.json", None))
    files = {name: _checked(folder, name, entry) for name, entry in manifest["files"].items()}
    contract = FeatureContract.from_json(json.loads(files["contract.json"]))
    videos: list[VideoRecord] = []
    for name in sorted(name for name in files if name.startswith("videos-")):
        lines = [json.loads(line) for line in files[name].splitlines()]
        features, frozen = (
            _read_features(folder, _beside(name, kind), lines)
            if _beside(name, kind) in files
            else [None] * len(lines)
            for kind in ("features", "frozen")
        )
        videos += map(_video, lines, features, frozen)
    transcripts = {}
    for line in files["transcripts.jsonl"].splitlines():
        entry = json.loads(line)
        transcripts[entry["name"]] = tuple(Cue(*cue) for cue in entry["cues"])
    return KitchenAssets(contract, tuple(videos), transcripts)


def _beside(videos_file: str, kind: str) -> str:
    return videos_file.replace("videos-", f"{kind}-").replace(".jsonl", ".npz")


def _read_features(
    folder: pathlib.Path, name: str, lines: Sequence[dict[str, Any]]
) -> list[np.ndarray]:
    """float16 features of each video of a shard. Raises AssetsError on another number of clips."""
    shard = arrays.read_npz(folder / name)
    features = dequantise(shard["values"], shard["scale"])
    ends = np.cumsum([line["clips"] for line in lines])
    if ends[-1] != len(features):
        raise AssetsError(f"{name} holds {len(features)} clips, its videos have {ends[-1]}")
    return np.split(features, ends[:-1])


def _video(
    line: dict[str, Any], features: np.ndarray | None, frozen: np.ndarray | None
) -> VideoRecord:
    if features is None:
        raise AssetsError(f"{line['name']} has no features; {REMEDY}")
    return VideoRecord(
        name=line["name"],
        split=line["split"],
        seconds=line["seconds"],
        steps=tuple(StepRecord(**step) for step in line["steps"]),
        cues=tuple(Cue(*cue) for cue in line["cues"]),
        features=features,
        frozen=frozen,
    )


def _checked(folder: pathlib.Path, name: str, entry: dict[str, Any] | None) -> bytes:
    path = folder / name
    if not path.is_file():
        raise AssetsError(f"{path} is missing; {REMEDY}")
    contents = path.read_bytes()
    if entry is not None and digests.sha256_bytes(contents) != entry["sha256"]:
        raise AssetsError(
            f"{path} is not the file that the manifest names (sha256 {entry['sha256'][:12]}…); "
            f"{REMEDY}"
        )
    return contents


def num_videos(folder: pathlib.Path) -> int:
    """How many videos a folder of assets has; 0 where there is none. Raises as `load` does."""
    return len(load(folder).videos) if (folder / "manifest.json").is_file() else 0


def add_shard(folder: pathlib.Path, number: int, videos: Sequence[VideoRecord]) -> None:
    """Writes the files of a shard of at most SHARD_VIDEOS videos; `seal` makes them valid."""
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_text(folder / f"videos-{number:03d}.jsonl", "".join(map(_video_line, videos)))
    _write_features(folder / f"features-{number:03d}.npz", [video.features for video in videos])
    frozen = [video.frozen for video in videos if video.frozen is not None]
    if frozen:
        _write_features(folder / f"frozen-{number:03d}.npz", frozen)


def _write_features(path: pathlib.Path, features: Sequence[np.ndarray]) -> None:
    values, scale = quantise(np.concatenate(features))
    temporary = path.with_name(f".{path.name}")
    np.savez_compressed(temporary, values=values, scale=scale)
    temporary.replace(path)


def seal(
    folder: pathlib.Path, contract: FeatureContract, transcripts: Mapping[str, Sequence[Cue]]
) -> None:
    """Writes what is not of one shard, and last the manifest of everything in the folder."""
    atomic.write_json(folder / "contract.json", contract.to_json())
    lines = [_json_line({"name": n, "cues": _cue_lists(c)}) for n, c in transcripts.items()]
    atomic.write_text(folder / "transcripts.jsonl", "".join(lines))
    shards = sorted(folder.glob("videos-*.jsonl"))
    videos = [json.loads(line) for shard in shards for line in shard.open(encoding="utf-8")]
    kinds = ("features-*.npz", "frozen-*.npz")
    names = ["contract.json", "transcripts.jsonl", *(shard.name for shard in shards)]
    names += sorted(path.name for kind in kinds for path in folder.glob(kind))
    manifest = {
        "notes": NOTES,
        "num_videos": len(videos),
        "num_clips": sum(video["clips"] for video in videos),
        "files": {
            name: {
                "sha256": digests.sha256_file(folder / name),
                "bytes": (folder / name).stat().st_size,
            }
            for name in names
        },
    }
    atomic.write_json(folder / "manifest.json", manifest)


def _video_line(video: VideoRecord) -> str:
    return _json_line(
        {
            "name": video.name,
            "split": video.split,
            "seconds": video.seconds,
            "clips": len(video.features),
            "steps": [dataclasses.asdict(step) for step in video.steps],
            "cues": _cue_lists(video.cues),
        }
    )


def _cue_lists(cues: Sequence[Cue]) -> list[list[Any]]:
    return [list(dataclasses.astuple(cue)) for cue in cues]


def _json_line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, separators=(",", ":")) + "\n"
