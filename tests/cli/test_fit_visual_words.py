"""The command on small datasets: what it writes, what it says of labels, what it refuses."""

import json

import numpy as np
import pytest

from tests import fakes
from videobert_jax.cli import main
from videobert_jax.data import index, segments
from videobert_jax.data.writer import DatasetWriter
from videobert_jax.video import visual_words


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Clips around three points, their steps labelled by them; another label at random."""
    generator = np.random.default_rng(0)
    points = generator.normal(size=(3, fakes.FEATURE_DIM)) * 10
    writer = DatasetWriter(tmp_path_factory.mktemp("words") / "set", "labelled", fakes.CONTRACT)
    for split in ("train", "test"):
        for video in range(8):
            verbs = generator.integers(3, size=6)
            noise = generator.normal(size=(12, fakes.FEATURE_DIM)) * 0.1
            features = (points[np.repeat(verbs, 2)] + noise).astype(np.float16)
            if split == "train" and video == 5:
                features[3] = np.nan
            steps = [
                segments.Segment(
                    start=2.0 * number,
                    end=2.0 * number + 2,
                    text="a step",
                    labels={"verb": f"v{verb}", "object": f"o{generator.integers(3)}"},
                    clips=(2 * number, 2),
                )
                for number, verb in enumerate(verbs.tolist())
            ]
            writer.add_video(split, f"{split}_{video}", features, steps)
    writer.finish()
    return writer.output


def test_words_are_written_and_compared_with_the_labels(labelled, tmp_path, capsys):
    output = tmp_path / "words.safetensors"
    (tmp_path / "words.json").write_text("content words")
    words = ("fit-visual-words", "--dataset", labelled, "--output", output, "--branching", 3)
    options = ("--depth", 2, "--labels", "test", "--platform", "cpu")
    assert main.main([str(word) for word in (*words, *options)]) == 0
    printed = capsys.readouterr()
    assert "1 videos with NaN or infinite features are left out" in printed.err
    assert (tmp_path / "words.json").read_text() == "content words"
    record = json.loads((tmp_path / "words.safetensors.json").read_text())
    assert record["num_features"] == 7 * 12 and record["dataset"] == "labelled"
    information = record["normalised_mutual_information"]["test"]
    assert information["verb"] > 0.6 > 0.2 > information["object"]
    read = visual_words.load(output)
    assert read.contract == fakes.CONTRACT and read.branching == 3
    split = index.open_dataset(labelled).split("test")
    assert f"verb {information['verb']:.3f}" in printed.out and len(split) == 48


def test_what_it_cannot_do_is_said(labelled, tmp_path, capsys):
    words = ["fit-visual-words", "--output", str(tmp_path / "w.safetensors"), "--dataset"]
    assert main.main([*words, str(labelled), "--branching", "1"]) == 2
    assert "expected two branches" in capsys.readouterr().err
    assert main.main([*words, str(labelled), "--split", "tset"]) == 2
    assert "no split 'tset'" in capsys.readouterr().err
    pytest.importorskip("matplotlib")
    pytest.importorskip("av")
    assert main.main([*words, str(labelled), "--sheet", str(tmp_path / "s.png")]) == 2
    assert "leave --sheet out" in capsys.readouterr().err
