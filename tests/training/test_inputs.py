"""What a run opens, reads, writes and remembers; of most tests its texts are transcripts."""

import contextlib
import dataclasses
import pathlib
from typing import Any

import ml_collections
import numpy as np
import pytest

from tests import bundles, fakes
from videobert_jax import configuration
from videobert_jax.data import data_state, writer
from videobert_jax.files import atomic
from videobert_jax.schema import ContractMismatch
from videobert_jax.training import changed_settings, inputs, run_record
from videobert_jax.video import visual_words

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


def test_visual_words_of_another_contract_or_tree_are_refused(
    dataset: pathlib.Path, tmp_path: pathlib.Path
):
    config = configured(dataset, "")
    config.data.visual_words = str(tmp_path / "words.safetensors")
    config.model.masked_video_head = "visual_words"
    config.model.visual_words.branching, config.model.visual_words.depth = 2, 1
    run = configuration.parse(config)
    levels = (np.ones((3, fakes.FEATURE_DIM), np.float32),)
    centre = np.zeros(fakes.FEATURE_DIM, np.float32)
    for contract, error, said in (
        (dataclasses.replace(fakes.CONTRACT, backbone="s3d"), ContractMismatch, "'s3d'.*'random'"),
        (fakes.CONTRACT, inputs.InputError, "3 branches, 1 levels deep, but .* 2 and 1"),
    ):
        words = visual_words.VisualWords(3, centre, levels, contract, {})
        visual_words.save(tmp_path / "words.safetensors", words)
        with pytest.raises(error, match=said):
            inputs.open_inputs(run, tmp_path / "run", None, None, begins=True)


def settings(dataset: pathlib.Path, transcripts: str) -> configuration.RunConfig:
    return configuration.parse(configured(dataset, transcripts))


def configured(dataset: pathlib.Path, transcripts: str) -> ml_collections.ConfigDict:
    config = configuration.load_file(TINY)
    config.data.path = str(dataset)
    config.data.text_length = config.data.target_length = 32
    config.data.sources.main.transcripts = transcripts
    return config


def write_record(workdir: pathlib.Path, config: dict[str, Any], opened: inputs.RunInputs) -> None:
    run_record.write(
        workdir,
        config,
        model=opened.model,
        contract=opened.contract,
        trained_on=opened.trained_on,
        answers=opened.answers,
        clip_labels=opened.clip_labels,
    )


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


def test_heads_are_those_that_this_run_teaches_and_trained_ones_that_it_takes_over(
    dataset, tmp_path
):
    run = settings(dataset, "narration")
    objectives = dataclasses.replace(
        run.objectives,
        matching=dataclasses.replace(run.objectives.matching, weight=0.0),
        contrastive=dataclasses.replace(run.objectives.contrastive, weight=0.0),
    )
    run = dataclasses.replace(run, objectives=objectives)
    own = run.taught_heads
    assert {"masked_language_head", "decoder"} <= own and not {"joint_head", "matching_head"} & own

    def heads(*modules: str, **trained_on) -> set[str]:
        with_modules = dataclasses.replace(run, init=dataclasses.replace(run.init, modules=modules))
        initial = bundles.tiny(run)
        known = {**initial.trained_on, "datasets": [], "video_names": [], **trained_on}
        initial = dataclasses.replace(initial, trained_on=known)
        sources = inputs.open_sources(run)
        return set(inputs._trained_on(with_modules, sources, initial, None)["heads"])

    assert set(inputs._trained_on(run, inputs.open_sources(run), None, None)["heads"]) == own
    assert heads("heads", heads=["joint_head"]) == own | {"joint_head"}
    assert heads("text_tower", heads=["joint_head", "matching_head"]) == own
    assert {"joint_head", "matching_head"} <= heads("heads")  # of a run that does not say


def test_a_run_that_goes_on_keeps_the_heads_that_it_took_over(dataset, tmp_path):
    run = settings(dataset, "narration")
    begun = inputs.open_inputs(run, tmp_path, None, None, begins=True)
    trained_on = {**begun.trained_on, "heads": ["answer_head"], "video_names": ["soup"]}
    config = configuration.to_json(configured(dataset, "narration"))
    write_record(tmp_path, config, dataclasses.replace(begun, trained_on=trained_on))
    gone_on = inputs.open_inputs(run, tmp_path, None, None, begins=False).trained_on
    assert gone_on["heads"] == sorted({"answer_head", *begun.trained_on["heads"]})
    assert gone_on["video_names"] == ["soup", "stew"]
    assert gone_on["datasets"] == begun.trained_on["datasets"]


@pytest.mark.parametrize("begun_before", [False, True])
def test_a_start_that_was_killed_between_the_files_of_its_record_begins_anew(
    dataset, tmp_path, monkeypatch, begun_before
):
    run, config = settings(dataset, ""), configuration.to_json(configured(dataset, ""))
    opened = inputs.open_inputs(run, tmp_path, None, None, begins=True)
    if begun_before:  # and ended before a step was saved; its features were made otherwise
        other = dataclasses.replace(opened.contract, backbone="s3d")
        write_record(tmp_path, config, dataclasses.replace(opened, contract=other))
    write, written = atomic.write_json, []

    def killed_after(number: int) -> None:
        def write_json(path: pathlib.Path, value: Any) -> None:
            if len(written) == number:
                raise KeyboardInterrupt
            write(path, value)
            written.append(path.name)

        written.clear()
        with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
            patch.setattr(atomic, "write_json", write_json)
            write_record(tmp_path, config, opened)

    for number in range(4):
        killed_after(number)
        assert len(written) == min(number, 3)
        changed_settings.accept(tmp_path, config)
        again = inputs.open_inputs(run, tmp_path, None, None, begins=True)
        assert again.tokenizer.model == opened.tokenizer.model
    assert run_record.read(tmp_path).contract == opened.contract


def test_transcripts_that_cannot_be_used_are_said(dataset, tmp_path):
    with pytest.raises(inputs.InputError, match="untimed .* says of no sentence when"):
        inputs.open_inputs(settings(dataset, "untimed"), tmp_path, None, None, begins=True)
    with pytest.raises(ValueError, match="no split 'speech'; this dataset"):
        inputs.open_inputs(settings(dataset, "speech"), tmp_path, None, None, begins=True)
