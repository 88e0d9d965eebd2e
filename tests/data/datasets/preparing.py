"""A dataset of the field by the command line, of made annotations and drawn features."""

import pathlib

import numpy as np

from videobert_jax.cli import main
from videobert_jax.data import index


def features(folder: pathlib.Path, names) -> pathlib.Path:
    folder.mkdir()
    for number, name in enumerate(names):
        values = np.random.default_rng(number).normal(size=(12, 16)).astype(np.float32)
        np.save(folder / f"{name}.npy", values)
    return folder


def prepare(tmp_path, name, videos, *options) -> index.Dataset:
    folder = features(tmp_path / "features", videos)
    words = ["prepare", name, *map(str, options), f"--features={folder}", "--layout=npy"]
    words += ["--stride=1", "--normalised=false", f"--output={tmp_path / 'set'}"]
    assert main.main(words) == 0
    return index.open_dataset(tmp_path / "set")
