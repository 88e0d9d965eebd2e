"""Configs of papers' recipes take a step, all their sources and objectives in it, in small."""

import dataclasses
import functools
import pathlib
from typing import Any

import jax
import numpy as np
import pytest

from tests import fakes
from videobert_jax import configuration
from videobert_jax.data import index
from videobert_jax.models.videobert import VideoBert
from videobert_jax.sharding import mesh as meshes
from videobert_jax.text import content_words
from videobert_jax.training import inputs, optimizer, state, steps
from videobert_jax.video import visual_words

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
RECIPES = (
    "videobert_visual_words",
    "youcook2_from_scratch",
    "videoclip",
    "howto100m",
    "univl_stage1",
    "univl_stage2",
    "taco",
    "youcook2_retrieval",
    "msrvtt_retrieval",
    "youcook2_captioning",
    "kitchen_captioning",
    "kitchen",
    "kitchen_long",
)
SMALL: dict[str, Any] = {
    "data.block_size": 16,
    "data.text_length": 24,
    "data.video_length": 16,
    "data.vocabulary_size": 300,
    "data.executor": "threads",
    "model.embed_dim": 32,
    "model.num_heads": 4,
    "model.feed_forward_dim": 64,
    "model.joint_dim": 16,
    "model.text.num_layers": 0,
    "model.video.num_layers": 0,
    "model.cross.num_layers": 1,
    "model.compute_dtype": "float32",
}
WORDS = {"model.visual_words.branching": 3, "model.visual_words.depth": 2}


@pytest.fixture(scope="module")
def words_file(tmp_path_factory) -> pathlib.Path:
    generator = np.random.default_rng(0)
    levels = [generator.normal(size=(3**n, fakes.FEATURE_DIM)).astype(np.float32) for n in (1, 2)]
    centre = np.zeros(fakes.FEATURE_DIM, np.float32)
    file = tmp_path_factory.mktemp("words") / "words.safetensors"
    visual_words.save(file, visual_words.VisualWords(3, centre, tuple(levels), fakes.CONTRACT, {}))
    return file


@pytest.fixture(scope="module")
def content_words_file(tiny_dataset, tmp_path_factory) -> pathlib.Path:
    split = index.open_dataset(tiny_dataset).split("train")
    file = tmp_path_factory.mktemp("words") / "content_words.json"
    content_words.save(file, content_words.count(split.texts(range(len(split))), None, {}))
    return file


@pytest.mark.long
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_takes_a_step(name, tiny_dataset, words_file, content_words_file, tmp_path):
    config = configuration.load_file(str(ROOT / "configs" / f"{name}.py"))
    recipe = configuration.parse(config)
    changes = SMALL | {
        "data.path": tiny_dataset,
        "data.blocks_per_batch": len(recipe.data.sources),  # a block of each
        "data.examples_per_row": min(2, recipe.data.examples_per_row),
        "data.read_group": min(4, recipe.data.read_group),
    }
    changes |= {f"data.sources.{name}.split": "train" for name in config.data.sources}
    if recipe.data.visual_words:
        changes |= {"data.visual_words": words_file, **WORDS}
    if recipe.data.content_words:
        changes["data.content_words"] = content_words_file
    if recipe.data.target_length:
        changes |= {"data.target_length": 16, "model.decoder.num_layers": 1}
    for key, value in changes.items():
        configuration.apply_override(config, key, str(value))
    run = configuration.parse(config)
    opened = inputs.open_inputs(run, tmp_path, None, None, begins=True)
    model, num_steps = VideoBert(opened.model), run.training.num_steps
    rule = optimizer.create_rule(run.optimizer, num_steps, model)
    mesh = meshes.create_mesh(meshes.MeshConfig(1, 1, 1), jax.devices()[:1])
    born = _drawn(state.state_structs(model, rule, mesh))
    (builder,) = opened.builders
    blocks = [builder.build(k).batch for k in range(run.data.blocks_per_batch)]
    assert {builder.schedule.locate(k)[0] for k in range(len(blocks))} == set(
        range(len(run.data.sources))
    )
    batch = jax.tree.map(lambda *values: np.stack(values), *blocks)
    step = functools.partial(
        steps.train_step,
        model=model,
        rule=rule,
        objectives=run.objectives,
        seed=0,
        accumulation_steps=1,
        num_shards=1,
    )
    with jax.set_mesh(mesh):
        after, metrics = jax.jit(step)(born, jax.device_put(batch))
    active = {kind for kind, weight in recipe.objectives.weights().items() if weight}
    assert active <= set(metrics)
    assert all(np.isfinite(float(metrics[kind])) for kind in active)
    assert metrics["update_skipped"] == 0 and metrics["gradient_norm"] > 0
    assert int(after.step) == 1


def _drawn(structs: state.TrainState) -> state.TrainState:
    """A state at step 0, its parameters random; a program that makes one takes long to compile."""
    generator = np.random.default_rng(0)

    def parameter(struct: jax.ShapeDtypeStruct) -> np.ndarray:
        return generator.normal(0.0, 0.2, struct.shape).astype(struct.dtype)

    drawn = jax.tree.map(lambda struct: np.zeros(struct.shape, struct.dtype), structs)
    constants = jax.tree.map(lambda struct: np.ones(struct.shape, struct.dtype), structs.constants)
    params = jax.tree.map(parameter, structs.params)
    return jax.device_put(dataclasses.replace(drawn, params=params, constants=constants))
