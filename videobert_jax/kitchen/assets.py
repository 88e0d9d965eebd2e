"""The corpus as it ships with the package: clip features, steps and transcripts of every video.

    assets/contract.json           how the features were made
    assets/manifest.json           sha256 and size of every file, how many videos, notes
    assets/videos.jsonl            one video a line: split, steps with labels and sentence, cues
    assets/transcripts.jsonl       words of further videos, which nobody rendered
    assets/features-000.npz        int8 [clips, dim] of 40 videos, and the float32 scale [dim]

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
    """A video of the corpus; its features are float16 `[clips, dim]`."""

    name: str
    split: str
    seconds: float
    steps: tuple[StepRecord, ...]
    cues: tuple[Cue, ...]
    features: Float16[np.ndarray, "v c"]


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
    lines = [json.loads(line) for line in files["videos.jsonl"].splitlines()]
    shards = [
        arrays.read_npz(folder / name) for name in sorted(files) if name.startswith("features-")
    ]
    videos: list[VideoRecord] = []
    for number, shard in enumerate(shards):
        features = dequantise(shard["values"], shard["scale"])
        first = 0
        for line in lines[number * SHARD_VIDEOS : (number + 1) * SHARD_VIDEOS]:
            videos.append(_video(line, features[first : first + line["clips"]]))
            first += line["clips"]
        if first != len(features):
            raise AssetsError(
                f"features-{number:03d}.npz holds {len(features)} clips, videos.jsonl says {first}"
            )
    if len(videos) != len(lines):
        raise AssetsError(f"videos.jsonl names {len(lines)} videos, features are of {len(videos)}")
    transcripts = {}
    for line in files["transcripts.jsonl"].splitlines():
        entry = json.loads(line)
        transcripts[entry["name"]] = tuple(Cue(*cue) for cue in entry["cues"])
    return KitchenAssets(contract, tuple(videos), transcripts)


def _video(line: dict[str, Any], features: np.ndarray) -> VideoRecord:
    return VideoRecord(
        name=line["name"],
        split=line["split"],
        seconds=line["seconds"],
        steps=tuple(StepRecord(**step) for step in line["steps"]),
        cues=tuple(Cue(*cue) for cue in line["cues"]),
        features=features,
    )


def _checked(folder: pathlib.Path, name: str, entry: dict[str, Any] | None) -> bytes:
    path = folder / name
    if not path.is_file():
        raise AssetsError(f"{path} is missing; install videobert-jax again")
    contents = path.read_bytes()
    if entry is not None and digests.sha256_bytes(contents) != entry["sha256"]:
        raise AssetsError(
            f"{path} is not the file that the manifest names (sha256 {entry['sha256'][:12]}…); "
            "install videobert-jax again"
        )
    return contents


def write(
    folder: pathlib.Path,
    contract: FeatureContract,
    videos: Sequence[VideoRecord],
    transcripts: Mapping[str, Sequence[Cue]],
) -> None:
    """Writes the files that `load` reads; the manifest comes last and makes them valid."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ["contract.json", "videos.jsonl", "transcripts.jsonl"]
    atomic.write_json(folder / "contract.json", contract.to_json())
    atomic.write_text(folder / "videos.jsonl", "".join(map(_video_line, videos)))
    lines = [_json_line({"name": n, "cues": _cue_lists(c)}) for n, c in transcripts.items()]
    atomic.write_text(folder / "transcripts.jsonl", "".join(lines))
    for number, first in enumerate(range(0, len(videos), SHARD_VIDEOS)):
        group = videos[first : first + SHARD_VIDEOS]
        values, scale = quantise(np.concatenate([video.features for video in group]))
        names.append(f"features-{number:03d}.npz")
        temporary = folder / f".{names[-1]}"
        np.savez_compressed(temporary, values=values, scale=scale)
        temporary.replace(folder / names[-1])
    manifest = {
        "notes": NOTES,
        "num_videos": len(videos),
        "num_clips": sum(len(video.features) for video in videos),
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
