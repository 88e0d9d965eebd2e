"""The command on a small dataset: what it finds is what blocks then hold, and what it refuses."""

import json
import pathlib
import re

import numpy as np
import pytest

from tests import fakes
from videobert_jax import configuration
from videobert_jax.cli import main
from videobert_jax.data import segments
from videobert_jax.data.writer import DatasetWriter
from videobert_jax.text.tokenizer import Tokenizer
from videobert_jax.training import inputs

TINY = str(pathlib.Path(__file__).resolve().parents[2] / "configs" / "tiny.py")
# More examples a block than tiny's, so that there is something to balance.
BLOCKS = ["--blocks", "12", "--config.data.block_size=48"]


@pytest.fixture(scope="module")
def uneven(tmp_path_factory) -> pathlib.Path:
    """96 videos with a step each, of 1 to 15 words and 1 to 30 clips; a split without captions."""
    generator = np.random.default_rng(0)
    writer = DatasetWriter(tmp_path_factory.mktemp("uneven") / "set", "uneven", fakes.CONTRACT)
    words = "cut stir pour onion carrot egg pan".split()
    for split, count in (("train", 96), ("silent", 3)):
        for video in range(count):
            clips = int(generator.integers(1, 31))
            features = generator.normal(size=(clips, fakes.FEATURE_DIM)).astype(np.float16)
            text = " ".join(generator.choice(words, size=generator.integers(1, 16)))
            step = segments.Segment(0.0, float(clips), text if split == "train" else "")
            writer.add_video(split, f"{split}_{video}", features, [step])
    writer.finish()
    return writer.output


def fit(dataset: pathlib.Path, capsys, *options: str) -> dict:
    words = ["fit-packing", f"--config={TINY}", "--dataset", str(dataset), *BLOCKS, "--json"]
    assert main.main([*words, "--config.model.text.max_length=128", *options]) == 0
    return json.loads(capsys.readouterr().out)


def built(dataset: pathlib.Path, candidate: dict) -> dict[str, float]:
    """Shares of slots filled and of tokens cut in the blocks that a run of these rows has."""
    config = configuration.load_file(TINY)
    config.data.path = str(dataset)
    config.data.block_size = 48
    config.data.examples_per_row = candidate["examples"]
    config.data.text_length = candidate["text"]["capacity"]
    config.data.video_length = candidate["video"]["capacity"]
    config.data.target_length = candidate["target"]["capacity"]
    config.model.text.max_length = config.model.video.max_length = 1024
    run = configuration.parse(config)
    sources = inputs.open_sources(run)
    tokenizer = Tokenizer(inputs.new_tokenizer(run, sources, None))
    builder = inputs.block_builder(run, sources, tokenizer)
    blocks = [builder.build(k) for k in range(12)]
    text = np.stack([block.batch.text_segment_ids for block in blocks]) > 0
    video = np.stack([block.batch.video_segment_ids for block in blocks]) > 0
    target = np.stack([block.batch.target_segment_ids for block in blocks]) > 0
    cut = [
        sum(getattr(block, name) for block in blocks)
        for name in ("cut_pieces", "cut_clips", "cut_targets")
    ]
    pieces, to_write = text.sum() - 2 * 12 * 48, target.sum() + cut[2] - 12 * 48
    return {
        "text_filled": text.mean(),
        "video_filled": video.mean(),
        "target_filled": target.mean(),
        "text_cut": cut[0] / (cut[0] + pieces),
        "video_cut": cut[1] / (cut[1] + video.sum()),
        "target_cut": cut[2] / to_write,
    }


def test_what_is_found_is_what_the_blocks_of_a_run_hold(uneven, capsys):
    record = fit(uneven, capsys, "--config.model.video.max_length=128")
    assert [candidate["examples"] for candidate in record["candidates"]] == [1, 2, 3, 4, 6]
    for candidate in (record["candidates"][0], record["candidates"][2]):
        found = built(uneven, candidate)
        for side in ("text", "video", "target"):
            assert candidate[side]["capacity"] % 8 == 0
            assert candidate[side]["filled"] == pytest.approx(found[f"{side}_filled"], abs=1e-12)
            assert candidate[side]["cut"] == pytest.approx(found[f"{side}_cut"], abs=1e-12)
            assert candidate[side]["cut"] <= 0.01
            shorter = dict(candidate)
            shorter[side] = {"capacity": candidate[side]["capacity"] - 8}
            assert built(uneven, shorter)[f"{side}_cut"] > 0.01  # 8 slots fewer cut too much
    chosen = min(record["candidates"], key=lambda candidate: candidate["work"])
    assert record["settings"]["data.examples_per_row"] == chosen["examples"] > 1


def test_a_higher_share_to_cut_and_other_multiples_are_followed(uneven, capsys):
    options = ("--examples", "6,1", "--config.model.video.max_length=256")
    plain = fit(uneven, capsys, *options)["candidates"]
    assert [candidate["examples"] for candidate in plain] == [1, 6]
    cutting = fit(uneven, capsys, *options, "--most_cut", "0.3")["candidates"]
    for side in ("text", "video"):
        before, after = plain[1][side], cutting[1][side]
        assert after["capacity"] < before["capacity"] and 0.01 < after["cut"] <= 0.3
    tiled = fit(uneven, capsys, *options, "--multiple", "128")["candidates"]
    assert {c[side]["capacity"] for c in tiled for side in ("text", "video")} == {128}


def test_rows_of_a_run_with_heads_are_those_without(uneven, capsys):
    options = ["--examples", "6,1", "--config.model.video.max_length=256"]
    options += [f"--config.{name}=0" for name in ("model.decoder.num_layers", "data.target_length")]
    options += ["--config.objectives.captioning.weight=0"]
    heads = ["--config.model.answers=50", "--config.objectives.answering.weight=1"]
    heads += ["--config.model.clip_labels=778", "--config.data.clip_labels=step"]
    heads += ["--config.objectives.segmentation.weight=1"]
    names = ("masked_language", "masked_video", "matching", "contrastive", "bag_of_words")
    heads += [f"--config.objectives.{name}.weight=0" for name in names]
    assert fit(uneven, capsys, *options, *heads) == fit(uneven, capsys, *options)


def test_the_table_ends_with_settings_to_paste(uneven, capsys):
    words = ["fit-packing", f"--config={TINY}", "--dataset", str(uneven), *BLOCKS]
    long = ["--config.model.text.max_length=128", "--config.model.video.max_length=128"]
    assert main.main([*words, *long]) == 0
    *table, settings = capsys.readouterr().out.splitlines()
    (marked,) = [line.split() for line in table if line.endswith("<-")]
    pasted = dict(word.removeprefix("--config.").split("=") for word in settings.split())
    assert pasted == {
        "data.examples_per_row": marked[0],
        "data.text_length": marked[1],
        "data.video_length": marked[4],
        "data.target_length": marked[7],
    }
    config = configuration.load_file(TINY)
    for key, text in {**pasted, "data.block_size": "48"}.items():
        configuration.apply_override(config, key, text)
    assert configuration.parse(config).data.examples_per_row == int(marked[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--blocks", "0"], "expected one block"),
        (["--most_cut", "1"], "from 0 to below 1"),
        (["--examples", "5"], "whole rows, and 2 equal parts of them .* of 1, 2, 3, 4, 6"),
        (["--examples", "few"], "say some of these"),
        (["--split", "tset"], "no split 'tset'"),
        (["--split", "silent", "--tokenizer", "made"], "no example .* has a caption"),
        (["--tokenizer", "/nowhere"], "/nowhere: there is no such file"),
        (["--config.init.checkpoint=/run"], "init.checkpoint=/run .* --tokenizer"),
        (["--config.init.bert=/nowhere"], "/nowhere"),
        (["--config.model.video.max_length=16"], "max_length=16; raise these, or --most_cut"),
    ],
)
def test_what_it_cannot_do_is_said(uneven, tmp_path, capsys, options, message):
    if "made" in options:
        config = configuration.load_file(TINY)
        config.data.path = str(uneven)
        run = configuration.parse(config)
        model = inputs.new_tokenizer(run, inputs.open_sources(run), None)
        (tmp_path / "tokenizer.model").write_bytes(model)
        options = [*options[:-1], str(tmp_path / "tokenizer.model")]
    words = ["fit-packing", f"--config={TINY}", "--dataset", str(uneven), *BLOCKS, *options]
    assert main.main(words) == 2
    printed = capsys.readouterr().err
    assert re.search(f"error: .*{message}", printed), printed
