import argparse
import json
import pathlib

import numpy as np
import pytest

from videobert_jax.cli import prepare, verify
from videobert_jax.data import index, writer


def run(command, *words) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(word) for word in words]))


@pytest.fixture
def source(tmp_path) -> pathlib.Path:
    folder = tmp_path / "source"
    folder.mkdir()
    captions = {
        name: {"timestamps": [[0, 4]], "sentences": [f"run {name}"], "feature_seconds": 2.0}
        for name in ("a", "b", "c")
    }
    (folder / "captions.json").write_text(json.dumps(captions))
    np.savez(folder / "i3d_rgb.npz", **{name: np.ones((5, 1024), np.float32) for name in captions})
    return folder


def test_prepare_then_verify_then_prepare_again(source, tmp_path, capsys):
    output = tmp_path / "set"
    words = ("activitynet_sample", "--source", source, "--output", output)
    assert run(prepare, *words) == 0
    assert "train: 1 examples, 1 videos, 5 clip features" in capsys.readouterr().out
    assert run(verify, output) == 0
    table = capsys.readouterr().out
    assert "every file is as it was written" in table and "validation         2" in table
    before = (output / "dataset.json").stat().st_mtime_ns
    assert run(prepare, *words) == 0
    assert "complete already; nothing to do" in capsys.readouterr().out
    assert (output / "dataset.json").stat().st_mtime_ns == before


def test_verify_exits_with_1_and_names_the_file(source, tmp_path, capsys):
    output = tmp_path / "set"
    run(prepare, "activitynet_sample", "--source", source, "--output", output)
    text = output / "index" / "train" / "text.bin"
    text.write_bytes(text.read_bytes().replace(b"run", b"ran"))
    assert run(verify, output) == 1
    printed = capsys.readouterr().out
    assert f"WRONG  {text}: found sha256" in printed and "prepare it anew" in printed
    with open(output / "dataset.json", "a") as file:
        file.write(" ")
    assert run(verify, output) == 1
    assert f"WRONG  {output / 'dataset.json'}: sha256" in capsys.readouterr().out


def test_another_dataset_at_the_output_is_left_alone(source, tmp_path):
    output = tmp_path / "set"
    run(prepare, "activitynet_sample", "--source", source, "--output", output)
    with pytest.raises(index.DatasetError, match="holds the dataset activitynet_sample, expected"):
        run(prepare, "youcook2_keyframes", "--source", source, "--output", output)


def test_the_embedded_corpus_takes_no_source(source, tmp_path):
    pytest.importorskip("videobert_jax.kitchen.dataset")
    with pytest.raises(index.DatasetError, match="leave --source out"):
        run(prepare, "kitchen", "--source", source, "--output", tmp_path / "set")


def test_a_folder_that_is_neither_dataset_nor_run_says_so(tmp_path):
    with pytest.raises(index.DatasetError, match="not a prepared dataset"):
        run(verify, tmp_path)


def test_an_interruption_says_how_to_go_on(source, tmp_path, monkeypatch, capsys):
    def interrupt(self, *arguments):
        raise KeyboardInterrupt

    output = tmp_path / "set"
    words = ("activitynet_sample", "--source", source, "--output", output)
    with monkeypatch.context() as patch:
        patch.setattr(writer.DatasetWriter, "add_video", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(prepare, *words)
    assert "the same command goes on from there" in capsys.readouterr().err
    assert run(prepare, *words) == 0
