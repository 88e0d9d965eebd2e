"""A run whose network holds a frozen BERT and a tree of visual words, from its first step to its
export: it tells hidden clips by their words, and its text tower reads the BERT's vectors."""

import json
import pathlib
import shutil
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import berts
from tests.integration import runs
from videobert_jax.cli import main
from videobert_jax.data import clip_stream, index
from videobert_jax.export import safetensors as export
from videobert_jax.inference.model import PretrainedModel
from videobert_jax.models.videobert import VideoBert
from videobert_jax.training import checkpoint_bundle, initialization, manifest
from videobert_jax.video import visual_words
from videobert_jax.video.visual_words import VisualWords, VisualWordsError
from videobert_jax.weights import bert

pytestmark = pytest.mark.usefixtures("on_one_device")

BERT = berts.CONFIG | {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 2}
SETTINGS: dict[str, Any] = {
    "model.text.input": "bert_vectors",
    "model.text.bert.embed_dim": 24,
    "model.text.bert.num_heads": 3,
    "model.text.bert.feed_forward_dim": 64,
    "model.text.bert.num_layers": 2,
    "model.masked_video_head": "visual_words",
    "model.visual_words.branching": 3,
    "model.visual_words.depth": 2,
    # Two objectives, and a video tower without layers: the time of these tests is compile time.
    "model.video.num_layers": 0,
    "objectives.masked_video.weight": 1.0,
    "objectives.contrastive.weight": 0.0,
    "training.num_steps": 3,
    "training.save_every": 1,
}


class Run(NamedTuple):
    """A run that was stopped at step 1 and went on without the files that it began with.

    bert: the BERT's parameters by name.
    """

    workdir: pathlib.Path
    bert: dict[str, np.ndarray]
    words: VisualWords

    def variables(self, step: int) -> dict[str, Any]:
        return checkpoint_bundle.load(f"{self.workdir}@{step}").variables


@pytest.fixture(scope="module")
def run(tiny_dataset, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("runs")
    file, published, workdir = folder / "words.safetensors", folder / "bert", folder / "run"
    fit = f"fit-visual-words --dataset={tiny_dataset} --output={file} --branching=3 --depth=2"
    assert main.main([*fit.split(), "--platform=cpu"]) == 0
    words = visual_words.load(file)
    berts.write(published, config=BERT, weights=berts.tensors(BERT))
    settings = SETTINGS | {"data.visual_words": file, "init.bert": published}
    assert runs.train(workdir, tiny_dataset, stop=lambda step: step == 1, **settings).step == 1
    network = checkpoint_bundle.load(str(workdir)).config
    given = manifest.named_leaves(bert.load(published, network, 0).params)
    shutil.rmtree(published)
    file.unlink()
    assert runs.train(workdir, tiny_dataset, **settings).finished
    return Run(workdir, given, words)


def test_constants_are_in_the_checkpoint_and_stay_as_they_were(run):
    for constants in (run.variables(step)["constants"] for step in (1, 3)):
        found = manifest.named_leaves(constants["text_embedding"]["bert"])
        assert set(found) == set(run.bert)
        for name, values in run.bert.items():
            np.testing.assert_array_equal(found[name][: len(values)], values, err_msg=name)
        tree = constants["masked_video_head"]
        np.testing.assert_array_equal(tree["centre"], run.words.centre)
        for number, level in enumerate(run.words.levels, start=1):
            np.testing.assert_array_equal(tree[f"level_{number}"], level)


def test_the_optimizer_knows_nothing_of_them(run):
    leaves = runs.saved_digests(run.workdir, 3)
    assert any(name.startswith("constants/text_embedding/bert/") for name in leaves)
    others = [name for name in leaves if not name.startswith("constants/")]
    assert not any("bert" in name or "level_" in name for name in others)
    learnt = [name for name in others if "text_embedding" in name]
    assert learnt and all("project" in name or "norm" in name for name in learnt)


def test_what_reads_them_learns(run):
    # The first step's learning rate is 0: the embeddings of words are still the centroids.
    first, last = (run.variables(step)["params"] for step in (1, 3))
    born, learnt = (params["masked_video_head"]["words"][:9] for params in (first, last))
    np.testing.assert_array_equal(born[run.words.exists], run.words.levels[-1][run.words.exists])
    assert (born != learnt).any(axis=1).all() and np.isfinite(learnt).all()
    changed = jax.tree.map(lambda *both: not np.array_equal(*both), first, last)
    for module in ("text_embedding", "text_encoder", "masked_language_head"):
        assert all(jax.tree.leaves(changed[module]))
    losses = [line["masked_video"] for line in runs.figures(run.workdir)]
    assert len(losses) == 3 and all(0 < loss < 2 / 0.07 for loss in losses)


def test_it_is_evaluated(run, tmp_path):
    flags = ("--task=retrieval", "--split=validation", "--shortlist=0", "--untrained-heads")
    output = tmp_path / "retrieval.json"
    given = [f"--workdir={run.workdir}", *flags, f"--output={output}", "--platform=cpu"]
    assert main.main(["evaluate", *given]) == 0
    record = json.loads(output.read_text())
    assert record["checkpoint"]["step"] == 3 and record["dataset"]["num_evaluated"] > 10


def test_its_export_stands_alone(run, tiny_dataset, tmp_path):
    bundle = checkpoint_bundle.load(str(run.workdir))
    assert export.save_bundle(bundle, tmp_path / "export")
    loaded = export.load_bundle(tmp_path / "export")
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, bundle.variables)
    split = index.open_dataset(tiny_dataset).split("train")
    videos = clip_stream.undamaged_videos(split)
    features = np.concatenate(list(clip_stream.clip_features(split, videos)))
    found = VideoBert(loaded.config).apply(
        jax.tree.map(jnp.asarray, loaded.variables),
        jnp.asarray(features)[None],
        method="video_targets",
    )
    expected = run.words.assign(features)
    assert len(np.unique(expected)) > 5
    np.testing.assert_array_equal(np.asarray(found)[0], expected)
    texts = ["stir the onions", "cut the egg"]
    own = PretrainedModel(bundle).encode_text(texts)
    words = loaded.variables["constants"]["text_embedding"]["bert"]["text_embedding"]["pieces"]
    words[5:] = words[5:][::-1]  # other vectors, and with them other texts
    assert np.abs(PretrainedModel(loaded).encode_text(texts) - own).max() > 0.01


def test_a_run_that_begins_needs_the_files(tiny_dataset, tmp_path):
    missing = {"data.visual_words": tmp_path / "words.safetensors"}
    with pytest.raises(initialization.InitializationError, match="say --config.init.bert=DIR"):
        runs.train(tmp_path / "run", tiny_dataset, **SETTINGS, **missing)
    assert not (tmp_path / "run").exists()
    pieces = SETTINGS | missing | {"model.text.input": "pieces"}
    with pytest.raises(VisualWordsError, match="words.safetensors"):
        runs.train(tmp_path / "run", tiny_dataset, **pieces)
