"""Heads taken over from another run: what they tell is what this run's splits have."""

import dataclasses

import numpy as np
import pytest

from tests import fakes
from videobert_jax.data import index
from videobert_jax.data.writer import DatasetWriter, Segment
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.models.config import RAW
from videobert_jax.training.head_lists import HeadLists, InputError


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> index.Split:
    out = DatasetWriter(tmp_path_factory.mktemp("datasets") / "shown", "shown", fakes.CONTRACT)
    features = np.zeros((2, fakes.FEATURE_DIM), np.float16)
    labels = {"step": "stir", "verb": "mix", "answer": "an egg"}
    out.add_video("train", "a", features, [Segment(0.0, 2.0, "what is it", labels)])
    return out.finish().split("train")


def taking_over(run, split, *, kind="step", shown="stir", answer="an egg", weight=1.0):
    """Lists of a run with both heads, taken over from one that told these and one more of each."""
    objectives = run.objectives
    run = dataclasses.replace(
        run,
        model=dataclasses.replace(run.model, answers=2, clip_labels=2),
        data=dataclasses.replace(run.data, clip_labels="step"),
        init=dataclasses.replace(run.init, modules=("answer_head", "clip_label_head")),
        objectives=dataclasses.replace(
            objectives,
            answering=dataclasses.replace(objectives.answering, weight=weight),
            segmentation=dataclasses.replace(objectives.segmentation, weight=weight),
        ),
    )
    initial = ModelBundle(
        config=run.model,
        data=dataclasses.replace(run.data, clip_labels=kind),
        variables={"params": {"answer_head": {}, "clip_label_head": {}}},
        tokenizer_model=b"",
        contract=fakes.CONTRACT,
        answers=("milk", answer),
        clip_labels=("chop", shown),
        trained_on={},
        step=1,
        digest="",
        weights=RAW,
        name="before",
        captioning_inputs=None,
    )
    return HeadLists.of_run(run, [split], initial)


def test_lists_go_with_the_heads(tiny_run, split):
    assert taking_over(tiny_run, split) == HeadLists(("milk", "an egg"), ("chop", "stir"))


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (
            {"kind": "verb"},
            "clip_labels='step', but .* before tells labels of the kind 'verb'; set",
        ),
        ({"shown": "peel"}, "segmentation: .* chop, peel and .* the splits train have none"),
        ({"answer": "a pan"}, "answering: .* milk, a pan and .* the splits train have none"),
    ],
)
def test_heads_that_tell_something_else_are_an_error(tiny_run, split, told, message):
    with pytest.raises(InputError, match=message):
        taking_over(tiny_run, split, **told)


def test_heads_that_are_kept_but_not_trained_may_tell_something_else(tiny_run, split):
    lists = taking_over(tiny_run, split, shown="peel", answer="a pan", weight=0.0)
    assert lists == HeadLists(("milk", "a pan"), ("chop", "peel"))
