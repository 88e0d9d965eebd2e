"""A run whose text tower reads the vectors of a frozen BERT, from its first step to its export."""

import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest

from tests import berts
from tests.integration import runs
from videobert_jax.export import safetensors as export
from videobert_jax.inference.model import PretrainedModel
from videobert_jax.training import checkpoint, initialization, manifest, steps
from videobert_jax.weights import bert

SIZES = {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 2}
SETTINGS: dict[str, Any] = {
    "model.text.input": "bert_vectors",
    "model.text.bert.embed_dim": 24,
    "model.text.bert.num_heads": 3,
    "model.text.bert.feed_forward_dim": 64,
    "model.text.bert.num_layers": 2,
    # Two objectives, and a video tower without layers: the time of these tests is compile time.
    "model.video.num_layers": 0,
    **{f"objectives.{name}.weight": 0.0 for name in ("masked_video", "matching", "bag_of_words")},
    "training.num_steps": 3,
    "training.save_every": 1,
}


@pytest.fixture(scope="module", autouse=True)
def quick_start() -> Iterator[None]:
    """Leaves out the gradient norms of step 0, as tests of resuming do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "objective_gradient_norms", lambda *_, **__: {"all": 1.0})
        yield


@pytest.fixture(scope="module")
def run(tiny_dataset, tmp_path_factory) -> tuple[pathlib.Path, dict[str, Any]]:
    """(workdir of a run that was stopped at step 1 and went on without the BERT's files, the BERT's
    parameters by name)."""
    folder, workdir = (tmp_path_factory.mktemp(name) / name for name in ("bert", "run"))
    config = berts.CONFIG | SIZES
    berts.write(folder, config=config, weights=berts.tensors(config))
    settings = SETTINGS | {"init.bert": folder}
    assert runs.train(workdir, tiny_dataset, stop=lambda step: step == 1, **settings).step == 1
    network = checkpoint.load_bundle(str(workdir)).config
    given = manifest.named_leaves(bert.load(folder, network, 0).params)
    shutil.rmtree(folder)
    assert runs.train(workdir, tiny_dataset, **settings).finished
    return workdir, given


def test_the_bert_is_in_the_checkpoint_and_stays_as_it_was(run):
    workdir, given = run
    first, last = (checkpoint.load_bundle(f"{workdir}@{step}").variables for step in (1, 3))
    for variables in (first, last):
        found = manifest.named_leaves(variables["constants"]["text_embedding"]["bert"])
        assert set(found) == set(given)
        for name, values in given.items():
            np.testing.assert_array_equal(found[name][: len(values)], values, err_msg=name)
    changed = jax.tree.map(lambda *both: not np.array_equal(*both), first["params"], last["params"])
    for module in ("text_embedding", "text_encoder", "masked_language_head"):
        assert all(jax.tree.leaves(changed[module]))


def test_the_optimizer_knows_nothing_of_it(run):
    leaves = runs.saved_digests(run[0], 3)
    assert any(name.startswith("constants/text_embedding/bert/") for name in leaves)
    learnt = [name for name in leaves if "text_embedding" in name and "constants" not in name]
    assert learnt and all("project" in name or "norm" in name for name in learnt)
    assert not any("bert" in name for name in learnt)


def test_its_export_stands_alone(run, tmp_path):
    bundle = checkpoint.load_bundle(str(run[0]))
    assert export.save_bundle(bundle, tmp_path / "export")
    loaded = export.load_bundle(tmp_path / "export")
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, bundle.variables)
    texts = ["stir the onions", "cut the egg"]
    found, expected = (PretrainedModel(each).encode_text(texts) for each in (loaded, bundle))
    np.testing.assert_array_equal(found, expected)
    bert_of = lambda made: made.variables["constants"]["text_embedding"]["bert"]  # noqa: E731
    words = bert_of(loaded)["text_embedding"]["pieces"]
    words[5:] = words[5:][::-1]  # other vectors, and with them other texts
    other = PretrainedModel(loaded).encode_text(texts)
    assert np.abs(other - expected).max() > 0.01


def test_without_a_bert_no_run_begins(tiny_dataset, tmp_path):
    with pytest.raises(initialization.InitializationError, match="say --config.init.bert=DIR"):
        runs.train(tmp_path, tiny_dataset, **SETTINGS)
    assert not list(tmp_path.iterdir())
