"""A run that learns to answer: which answers its head tells goes with it, wherever it goes."""

import pathlib

import numpy as np
import pytest

from tests import fakes
from tests.integration import runs
from videobert_jax import configuration
from videobert_jax.data import segments
from videobert_jax.data.writer import DatasetWriter
from videobert_jax.export import safetensors
from videobert_jax.training import checkpoint_bundle, inputs

pytestmark = pytest.mark.usefixtures("on_one_device")

ALONE = {f"objectives__{name}__weight": 0.0 for name in ("masked_language", "contrastive")}
QUESTIONS = {**ALONE, "objectives__answering__weight": 1.0, "model__answers": 2}


def asked(path: pathlib.Path, answers: tuple[str, ...]) -> pathlib.Path:
    """A dataset of a question a video, answered in turn."""
    writer = DatasetWriter(path, path.name, fakes.CONTRACT)
    generator = np.random.default_rng(0)
    for video in range(36):
        answer = answers[video % len(answers)]
        text = f"what is video {video % 5}"
        features = generator.normal(size=(3, fakes.FEATURE_DIM)).astype(np.float16)
        question = segments.Segment(0.0, 3.0, text, {"answer": answer})
        writer.add_video("train", f"train_{video}", features, [question])
    writer.finish()
    return path


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> pathlib.Path:
    """A finished run of two steps."""
    folder = tmp_path_factory.mktemp("answers")
    dataset = asked(folder / "first", ("yes", "a pan", "yes", "two"))
    steps = {"training__num_steps": 2, "optimizer__warmup_steps": 1}
    runs.train(folder / "run", dataset, **QUESTIONS, **steps)
    return folder / "run"


def opened(tmp_path: pathlib.Path, dataset: pathlib.Path, initial, **settings) -> inputs.RunInputs:
    tmp_path.mkdir(exist_ok=True)
    path, *rest = runs.flags(dataset, **{**QUESTIONS, **settings})
    config = configuration.load_file(path.removeprefix("--config="))
    for flag in rest:
        name, _, text = flag.removeprefix("--config.").partition("=")
        configuration.apply_override(config, name, text)
    run = configuration.parse(config)
    return inputs.open_inputs(run, tmp_path, initial, None, begins=True)


def test_the_list_of_answers_goes_with_the_checkpoint_and_the_export(first, tmp_path):
    bundle = checkpoint_bundle.load(str(first))
    assert bundle.answers == ("yes", "a pan")  # "two" is as frequent, and behind it
    assert {step["step"]: step["answering"] > 0 for step in runs.figures(first)} == {
        1: True,
        2: True,
    }
    assert "answer_head" in bundle.variables["params"]
    safetensors.save_bundle(bundle, tmp_path / "export")
    assert safetensors.load_bundle(tmp_path / "export").answers == bundle.answers


def test_a_head_that_is_taken_over_keeps_its_answers(first, tmp_path):
    bundle = checkpoint_bundle.load(str(first))
    dataset = asked(tmp_path / "second", ("no", "yes", "no"))
    taken = opened(tmp_path / "run", dataset, bundle)
    assert taken.answers == ("yes", "a pan")
    labels = taken.builders[0].build(0).batch.answers
    assert set(labels.reshape(-1).tolist()) == {0, -1}  # yes, and what the head cannot tell
    anew = opened(tmp_path / "anew", dataset, bundle, init__modules="text_tower")
    assert anew.answers == ("no", "yes")
    with pytest.raises(
        inputs.InputError, match="answers=3, but the answer_head of .* tells 2; set"
    ):
        opened(tmp_path / "other", dataset, bundle, model__answers=3)


def test_a_dataset_without_questions_is_refused(tiny_dataset, tmp_path):
    with pytest.raises(inputs.InputError, match="splits train has labels of the kind 'answer'"):
        opened(tmp_path, tiny_dataset, None)
