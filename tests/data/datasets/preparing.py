"""Datasets of the field by the command line, of made annotations and drawn features."""

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


def crosstask_release(folder: pathlib.Path) -> pathlib.Path:
    """Three steps of two videos; a third one is listed, and others are of related tasks."""
    (folder / "annotations").mkdir(parents=True)
    (folder / "tasks_primary.txt").write_text(
        "16815\nGrill Steak\nhttps://example.org/grill\n2\nseason steak,put steak on grill\n\n"
        "23521\nMake Jello Shots\nhttps://example.org/jello\n1\npour jello\n"
    )
    (folder / "videos.csv").write_text(
        "16815,abcdefghijk,https://example.org/1\n16815,lost-video-,https://example.org/2\n"
        "99999,related-vid,https://example.org/3\n"
    )
    (folder / "videos_val.csv").write_text("23521,a_cdefghij-,https://example.org/4\n")
    (folder / "annotations" / "16815_abcdefghijk.csv").write_text("1,2.5,4\n2,5,9.25\n")
    (folder / "annotations" / "23521_a_cdefghij-.csv").write_text("1,0,3\n")
    (folder / "annotations" / "99999_zzzzzzzzzzz.csv").write_text("1,0,3\n")  # a related task
    return folder
