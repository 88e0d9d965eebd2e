"""A file of a newer version is refused, and the remedy is a newer program, not to make it anew."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from videobert_jax.data import alignment, index, neighbours
from videobert_jax.export import manifest as export_manifest
from videobert_jax.export import safetensors as export
from videobert_jax.files import versions
from videobert_jax.search_index import manifest as search_manifest
from videobert_jax.text import content_words, label_lists, word_pieces
from videobert_jax.training import checkpoint_folder, rollback
from videobert_jax.video import visual_words


@pytest.mark.parametrize("found, newer", [(3, True), (2, False), (1, False), ("3", False)])
def test_only_a_number_beyond_the_known_one_is_newer(found: Any, newer: bool):
    assert bool(versions.newer(found, 2)) is newer


def as_json(path: pathlib.Path, **fields: Any) -> pathlib.Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(fields))
    return path


def as_tensors(path: pathlib.Path, name: str, **fields: Any) -> pathlib.Path:
    metadata = {name: json.dumps(fields)}
    safetensors.numpy.save_file({"x": np.zeros(1, np.float32)}, path, metadata)
    return path


def of(module: Any) -> dict[str, Any]:
    return {"format": module.FORMAT, "format_version": module.FORMAT_VERSION + 1}


def dataset(folder: pathlib.Path) -> Any:
    as_json(folder / "dataset.json", format=index.FORMAT, version=index.FORMAT_VERSION + 1)
    return index.read_description(folder)


def exported(folder: pathlib.Path) -> Any:
    as_json(folder / "config.json", **of(export))
    return export.load_bundle(folder)


def searched(folder: pathlib.Path) -> Any:
    fields = {"format": search_manifest.FORMAT, "version": search_manifest.FORMAT_VERSION + 1}
    as_json(folder / search_manifest.FILE, **fields)
    return search_manifest.read(folder)


READERS: dict[str, Callable[[pathlib.Path], Any]] = {
    "dataset": dataset,
    "export": exported,
    "programs": lambda folder: export_manifest.require_version(
        of(export_manifest), export_manifest.FORMAT, export_manifest.FORMAT_VERSION, "file"
    ),
    "search index": searched,
    "near videos": lambda folder: neighbours.load(
        as_tensors(folder / "x", "neighbours", **of(neighbours))
    ),
    "alignment": lambda folder: alignment.load(
        as_tensors(folder / "x", "alignment", **of(alignment))
    ),
    "visual words": lambda folder: visual_words.load(
        as_tensors(folder / "x", "visual_words", **of(visual_words))
    ),
    "label lists": lambda folder: label_lists.load(as_json(folder / "x", **of(label_lists))),
    "content words": lambda folder: content_words.load(as_json(folder / "x", **of(content_words))),
    "word pieces": lambda folder: word_pieces.WordPieces(json.dumps(of(word_pieces)).encode()),
    "rollbacks": lambda folder: rollback.recorded(
        as_json(folder / "rollbacks.json", format=2, rollbacks=[]).parent
    ),
    "best": lambda folder: checkpoint_folder.read_best(
        as_json(folder / "best.json", format=2, step=1).parent
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_a_newer_file_is_refused_with_the_remedy(name: str, tmp_path: pathlib.Path):
    with pytest.raises(ValueError, match="newer videobert-jax|update videobert-jax"):
        READERS[name](tmp_path)
