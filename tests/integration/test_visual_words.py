"""A run that tells hidden clips by their visual words, from the fit of the words to its export."""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.integration import runs
from videobert_jax.cli import main
from videobert_jax.data import clip_stream, index
from videobert_jax.export import safetensors as export
from videobert_jax.models.videobert import VideoBert
from videobert_jax.training import checkpoint, steps
from videobert_jax.video import visual_words
from videobert_jax.video.visual_words import VisualWords, VisualWordsError

SETTINGS: dict[str, Any] = {
    "model.masked_video_head": "visual_words",
    "model.visual_words.branching": 3,
    "model.visual_words.depth": 2,
    # This objective alone, and towers without layers: the time of these tests is compile time.
    "model.text.num_layers": 0,
    "model.video.num_layers": 0,
    **{
        f"objectives.{name}.weight": 0.0
        for name in ("masked_language", "matching", "contrastive", "bag_of_words")
    },
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
def run(tiny_dataset, tmp_path_factory) -> tuple[pathlib.Path, VisualWords]:
    """Workdir of a run that was stopped at step 1 and went on without the file of its words."""
    folder = tmp_path_factory.mktemp("runs")
    file, workdir = folder / "words.safetensors", folder / "run"
    fit = f"fit-visual-words --dataset={tiny_dataset} --output={file} --branching=3 --depth=2"
    assert main.main([*fit.split(), "--platform=cpu"]) == 0
    words = visual_words.load(file)
    settings = SETTINGS | {"data.visual_words": file}
    assert runs.train(workdir, tiny_dataset, stop=lambda step: step == 1, **settings).step == 1
    file.unlink()
    assert runs.train(workdir, tiny_dataset, **settings).finished
    return workdir, words


def test_it_learns_words_and_keeps_their_tree(run):
    workdir, words = run
    first, last = (checkpoint.load_bundle(f"{workdir}@{step}").variables for step in (1, 3))
    tree = first["constants"]["masked_video_head"]
    np.testing.assert_array_equal(tree["centre"], words.centre)
    for number, level in enumerate(words.levels, start=1):
        np.testing.assert_array_equal(tree[f"level_{number}"], level)
    assert jax.tree.all(jax.tree.map(np.array_equal, first["constants"], last["constants"]))
    # The first step's learning rate is 0: the embeddings are still the centroids.
    born, learnt = (v["params"]["masked_video_head"]["words"][:9] for v in (first, last))
    np.testing.assert_array_equal(born[words.exists], words.levels[-1][words.exists])
    assert (born != learnt).any(axis=1).all() and np.isfinite(learnt).all()
    losses = [line["masked_video"] for line in runs.figures(workdir)]
    assert len(losses) == 3 and all(0 < loss < 2 / 0.07 for loss in losses)


def test_it_is_evaluated(run, tmp_path):
    flags = ("--task=retrieval", "--split=validation", "--shortlist=0", "--platform=cpu")
    output = tmp_path / "retrieval.json"
    assert main.main(["evaluate", f"--workdir={run[0]}", *flags, f"--output={output}"]) == 0
    record = json.loads(output.read_text())
    assert record["checkpoint"]["step"] == 3 and record["dataset"]["num_evaluated"] > 10


def test_its_export_tells_the_words_of_clips_by_itself(run, tiny_dataset, tmp_path):
    workdir, words = run
    bundle = checkpoint.load_bundle(str(workdir))
    assert export.save_bundle(bundle, tmp_path / "export")
    loaded = export.load_bundle(tmp_path / "export")
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, bundle.variables)
    split = index.open_dataset(tiny_dataset).split("train")
    videos = clip_stream.undamaged_videos(split)
    features = np.concatenate(list(clip_stream.clip_features(split, videos)))
    variables = jax.tree.map(jnp.asarray, loaded.variables)
    found = VideoBert(loaded.config).apply(
        variables, jnp.asarray(features)[None], method="video_targets"
    )
    expected = words.assign(features)
    assert len(np.unique(expected)) > 5
    np.testing.assert_array_equal(np.asarray(found)[0], expected)


def test_a_run_that_begins_needs_the_file(tiny_dataset, tmp_path):
    missing = SETTINGS | {"data.visual_words": tmp_path / "words.safetensors"}
    with pytest.raises(VisualWordsError, match="words.safetensors"):
        runs.train(tmp_path / "run", tiny_dataset, **missing)
