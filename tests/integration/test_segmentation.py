"""A run that learns what clips show: which labels its head tells goes with it."""

import numpy as np
import pytest

from tests import fakes
from tests.integration import runs
from videobert_jax.data import segments
from videobert_jax.data.writer import DatasetWriter
from videobert_jax.export import safetensors
from videobert_jax.training import checkpoint_bundle, inputs

pytestmark = pytest.mark.usefixtures("on_one_device")

ALONE = {f"objectives__{name}__weight": 0.0 for name in ("masked_language", "contrastive")}
STEPS = {"training__num_steps": 2, "optimizer__warmup_steps": 1}
SHOWN = {"objectives__segmentation__weight": 1.0, "data__clip_labels": "step"}


def test_the_labels_go_with_the_checkpoint_and_the_export(tmp_path):
    writer = DatasetWriter(tmp_path / "shown", "shown", fakes.CONTRACT)
    generator = np.random.default_rng(0)
    for video in range(36):
        features = generator.normal(size=(5, fakes.FEATURE_DIM)).astype(np.float16)
        steps = [
            segments.Segment(0.0, 2.0, "stir", {"step": "9"}),
            segments.Segment(3.0, 5.0, "chop", {"step": "10"}),
        ]
        writer.add_video("train", f"train_{video}", features, steps)
    writer.finish()
    settings = {**ALONE, **SHOWN, **STEPS, "data__drawing__overlapped_examples": 1.0}
    wrong = {**settings, "model__clip_labels": 3}
    with pytest.raises(inputs.InputError, match="splits train have 2 labels of the kind"):
        runs.train(tmp_path / "wrong", tmp_path / "shown", **wrong)
    runs.train(tmp_path / "run", tmp_path / "shown", **settings, model__clip_labels=2)
    bundle = checkpoint_bundle.load(str(tmp_path / "run"))
    assert bundle.clip_labels == ("10", "9") and bundle.data.clip_labels == "step"
    figures = runs.figures(tmp_path / "run")
    assert figures and all(step["segmentation"] > 0 for step in figures)
    head = bundle.variables["params"]["clip_label_head"]
    assert np.abs(head["kernel"][:, :3]).max() > 0  # it began from 0
    safetensors.save_bundle(bundle, tmp_path / "export")
    assert safetensors.load_bundle(tmp_path / "export").clip_labels == bundle.clip_labels
