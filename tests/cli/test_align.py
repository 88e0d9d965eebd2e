"""The command on the embedded corpus: the lines that tell of steps, on the clips of their steps."""

import dataclasses
import re

import numpy as np
import pytest

from tests import fakes
from tests.cli import test_cluster_videos as runs
from videobert_jax.cli import main
from videobert_jax.data import alignment, index, writer
from videobert_jax.kitchen import assets, corpus, dataset


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory):
    return dataset.prepare(tmp_path_factory.mktemp("align") / "kitchen").path


def align(path, output, *options) -> int:
    words = ("align", "--dataset", path, "--output", output, *options)
    return main.main([str(word) for word in words])


@pytest.fixture(scope="module")
def aligned(kitchen, tmp_path_factory):
    path = tmp_path_factory.mktemp("aligned") / "align.safetensors"
    assert align(kitchen, path) == 0
    return path


def shared(run: tuple[int, int], start: float, end: float, contract) -> float:
    """Intersection over union of a run of clips and the clips of an interval."""
    clips, truth = (
        set(range(first, first + count))
        for first, count in (run, contract.clips_between(start, end, 10**6))
    )
    return len(clips & truth) / len(clips | truth)


def test_lines_that_tell_of_steps_are_kept_and_lie_on_them(kitchen, aligned):
    split, found = index.open_dataset(kitchen).split("train"), alignment.load(aligned)
    training = [video for video in assets.load().videos if video.split == corpus.TRAIN]
    spoken = [(video, cue) for video in training for cue in video.cues]
    assert [cue.text for _, cue in spoken] == split.texts(np.arange(len(split)))
    tells = np.array([cue.step >= 0 for _, cue in spoken])
    kept = found.keeps(np.arange(len(split)))
    assert kept[tells].mean() > 0.98 and kept[~tells].mean() < 0.15
    before, after = [], []
    for line in np.flatnonzero(kept & tells):
        video, cue = spoken[line]
        step = video.steps[cue.step]
        for scores, of in ((before, split), (after, found)):
            run = int(of.first_clip[line]), int(of.clip_count[line])
            scores.append(shared(run, step.start, step.end, split.contract))
    assert np.mean(after) > 0.77 and np.mean(after) > np.mean(before) + 0.07
    words = found.about["seen_words"]
    assert {"onion", "stir"} <= set(words) and {"welcome", "subscribe"}.isdisjoint(words)


def test_the_file_is_the_same_each_time_and_a_run_takes_it(kitchen, aligned, tmp_path, capsys):
    again = tmp_path / "again.safetensors"
    assert align(kitchen, again) == 0
    printed = capsys.readouterr().out
    assert again.read_bytes() == aligned.read_bytes()
    found = alignment.load(again)
    named = f"{again}@{found.digest[:12]}"
    assert f"data.sources.NAME.alignment={named}" in printed
    assert f"{len(found.examples):,} of {found.about['num_examples']:,} lines kept" in printed
    opened = runs.open_run(kitchen, tmp_path / "run", data__sources__main__alignment=named)
    ids = opened.builders[0].build(3).batch.example_ids
    assert found.keeps(ids.reshape(-1).astype(np.int64)).all()
    assert f"({len(found.examples)} of 1542 examples, text_video, aligned)" in opened.names[0]


def test_every_line_with_clips_is_kept_without_an_area(tiny_dataset, tmp_path, capsys):
    path = tmp_path / "all.safetensors"
    assert align(tiny_dataset, path, "--least-area=0") == 0
    split = index.open_dataset(tiny_dataset).split("train")
    assert alignment.load(path).examples.tolist() == np.flatnonzero(split.clip_count).tolist()
    assert "words are seen" not in capsys.readouterr().out


def test_clips_without_times_are_refused(tmp_path, capsys):
    contract = dataclasses.replace(fakes.CONTRACT, stride_seconds=0.0)
    out = writer.DatasetWriter(tmp_path / "stills", "stills", contract)
    for number in range(6):
        clips = np.ones((3, contract.dim), np.float16) * number
        out.add_video("train", f"v{number}", clips, [writer.Segment(0, 1, "stir", clips=(0, 3))])
    out.finish()
    assert align(tmp_path / "stills", tmp_path / "x.safetensors") == 2
    assert "stride_seconds=0.0 in its contract" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scene-price=0"], "--scene-price=0.0 --least-area=0.8 --lines=50000: expected a price"),
        (["--least-area=1.5"], "expected a price above 0, an area from 0 to 1"),
        (["--lines=0"], "one line or more"),
        (["--split=transcripts"], "'transcripts' has no clips .*choose another with --split"),
        (["--least-area=1"], "0 examples kept"),
    ],
)
def test_what_cannot_be_aligned_is_refused(kitchen, tmp_path, capsys, options, message):
    output = tmp_path / "x.safetensors"
    assert align(kitchen, output, *options) == 2
    found = capsys.readouterr().err
    assert "error: " in found and re.search(message, found) and not output.exists()
