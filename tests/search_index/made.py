"""Made indexes: of given vectors, without a model, and of features in files."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from tests import fakes
from videobert_jax.search_index import building, manifest, shards
from videobert_jax.search_index.manifest import File, Maker, Manifest
from videobert_jax.search_index.windows import Windows

WINDOWS = Windows(clips=4, hop=2)  # of fakes.CONTRACT: four seconds every two


def vectors(count: int, dim: int, seed: int, centres: int = 20) -> np.ndarray:
    """float16 [count, dim] of norm 1 around some centres."""
    random = np.random.default_rng(seed)
    middle = np.random.default_rng(99).standard_normal((centres, dim))
    made = middle[random.integers(0, centres, count)] + 0.7 * random.standard_normal((count, dim))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float16)


def index(folder: pathlib.Path, given: Sequence[np.ndarray], kind: str) -> Manifest:
    """An index whose file /videos/N.mp4 has the vectors given[N] as its windows."""
    maker = Maker("made", 1, "4" * 64, "", given[0].shape[1], fakes.CONTRACT)
    files = tuple(
        File(
            10 + number, f"/videos/{number}.mp4", f"{number:032x}", 2 * len(values) + 2, len(values)
        )
        for number, values in enumerate(given)
    )
    found = Manifest(maker, WINDOWS, kind, files, None, 10 + len(files), ())
    for file, values in zip(files, given, strict=True):
        shards.write(folder, file.key, values, file.clips, found.about)
    manifest.write(folder, found)
    building.rebuild(folder)
    return manifest.read(folder)


def features(folder: pathlib.Path, clips: Mapping[str, int], seed: int = 0) -> pathlib.Path:
    """A folder of NAME.npy with so many clips each, and their contract."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(seed)
    for name, count in clips.items():
        values = random.normal(size=(count, fakes.FEATURE_DIM)).astype(np.float16)
        np.save(folder / f"{name}.npy", values)
    contract = dataclasses.asdict(fakes.CONTRACT)
    (folder / "contract.json").write_text(json.dumps(contract))
    return folder
