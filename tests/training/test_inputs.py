"""A run whose texts are transcripts: what is opened, read, written and remembered."""

import pathlib

import numpy as np
import pytest

from tests import fakes
from videobert_jax import configuration
from videobert_jax.data import data_state, writer
from videobert_jax.training import inputs

TINY = str(pathlib.Path(__file__).resolve().parents[2] / "configs" / "tiny.py")
SAID, WRITTEN = "hello and welcome to my kitchen", "cut the onion"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> pathlib.Path:
    out = writer.DatasetWriter(tmp_path_factory.mktemp("set") / "set", "set", fakes.CONTRACT)
    features = np.ones((6, fakes.FEATURE_DIM), np.float16)
    out.add_video("train", "stew", features, [writer.Segment(0.0, 4.0, WRITTEN)])
    out.add_video("narration", "stew", None, [writer.Segment(1.0, 2.0, SAID)])
    out.add_video("untimed", "stew", None, [writer.Segment(0.0, 0.0, SAID)])
    return out.finish().path


def settings(dataset: pathlib.Path, transcripts: str) -> configuration.RunConfig:
    config = configuration.load_file(TINY)
    config.data.path = str(dataset)
    config.data.text_length = config.data.target_length = 32
    config.data.sources.main.transcripts = transcripts
    return configuration.parse(config)


def test_transcripts_are_read_and_captions_written(dataset, tmp_path):
    run = settings(dataset, "narration")
    opened = inputs.open_inputs(run, tmp_path, None, None, begins=True)
    assert opened.names == ("set/train (1 examples, text_video, texts of narration)",)
    tokenizer, batch = opened.tokenizer, opened.builders[0].build(0).batch
    written = batch.target_ids[0][batch.target_segment_ids[0] > 0]
    assert tokenizer.decode(written) == WRITTEN and written[-1] == tokenizer.sep_id
    told = batch.text_ids[0].copy()
    told[batch.text_slots[0]] = np.where(
        batch.text_slot_weights[0] > 0, batch.text_targets[0], told[batch.text_slots[0]]
    )
    assert tokenizer.decode(told[batch.text_segment_ids[0] > 0]) == SAID
    assert {"w", "k", "m"} <= set(tokenizer.pieces)  # letters of the transcript alone
    assert {entry["split"] for entry in opened.trained_on["datasets"]} == {"train", "narration"}
    (source,) = data_state.data_state(opened.builders[0], 1, 0)["sources"]
    spoken = inputs.open_sources(run).transcripts[0]
    assert spoken is not None and source["transcripts"] == spoken.digest


def test_transcripts_that_cannot_be_used_are_said(dataset, tmp_path):
    with pytest.raises(inputs.InputError, match="untimed .* says of no sentence when"):
        inputs.open_inputs(settings(dataset, "untimed"), tmp_path, None, None, begins=True)
    with pytest.raises(ValueError, match="no split 'speech'; this dataset"):
        inputs.open_inputs(settings(dataset, "speech"), tmp_path, None, None, begins=True)
