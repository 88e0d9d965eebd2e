"""The exact step: bit for bit the same on every mesh, and up to rounding the ordinary one."""

import dataclasses
import os
import pathlib
import subprocess
import sys
from typing import Any

import jax
import numpy as np
import pytest

from tests import fakes
from videobert_jax import configuration, schema
from videobert_jax.models.config import BertConfig
from videobert_jax.models.videobert import VideoBert
from videobert_jax.sharding import mesh as meshes
from videobert_jax.sharding import partitioning
from videobert_jax.training import abstract_step, manifest, optimizer, stages, state

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BLOCKS, ROWS, NUM_STEPS = 8, 4, 3
WHOLE, SPLIT_TWICE = (1, 1, 1), (2, 4, 1)


def settings(**changed: Any) -> configuration.RunConfig:
    """configs/tiny.py with dropout, packed rows, a moving average, and one layer a side."""
    config = configuration.load_file(str(ROOT / "configs" / "tiny.py"))
    given = {
        "exact": True,
        "data.blocks_per_batch": BLOCKS,
        "data.examples_per_row": 2,
        "data.target_length": 0,
        "model.text.num_layers": 1,
        "model.video.num_layers": 1,
        "model.decoder.num_layers": 0,
        "model.bag_of_words_head": False,
        "objectives.captioning.weight": 0.0,
        "objectives.bag_of_words.weight": 0.0,
        "optimizer.ema_decay": 0.5,
        "optimizer.warmup_steps": 1,
        "optimizer.clip_norm": 0.5,
        **{name.replace("__", "."): value for name, value in changed.items()},
    }
    for name, value in given.items():
        configuration.apply_override(config, name, str(value))
    return configuration.parse(config)


def step_of(
    run: configuration.RunConfig, sizes: tuple[int, int, int]
) -> abstract_step.AbstractStep:
    mesh = meshes.create_mesh(meshes.MeshConfig(*sizes), jax.devices()[: int(np.prod(sizes))])
    network = configuration.resolve_model(run, vocabulary_size=300, feature_dim=fakes.FEATURE_DIM)
    model = VideoBert(network)
    rule = optimizer.create_rule(run.optimizer, run.training.num_steps, model)
    return abstract_step.of(run, model, rule, mesh, fakes.PACKED_SHAPE)


def batch(number: int) -> schema.Batch:
    """Two of the blocks are of a source of text alone, and one has fewer words to be told."""
    made = fakes.batch(BLOCKS, ROWS, seed=number)
    for name in ("video_segment_ids", "video_slot_weights", "pair_weights", "video_features"):
        getattr(made, name)[[1, 6]] = 0
    made.video_masked[[1, 6]] = False
    made.text_slot_weights[3, 0] = 0
    return made


def taken(run: configuration.RunConfig, sizes: tuple[int, int, int]) -> tuple[Any, list[Any]]:
    """(state, metrics of each step) after NUM_STEPS."""
    step = step_of(run, sizes)
    current = state.create_state(step.model, step.rule, step.mesh, 0, None)
    figures = []
    with jax.set_mesh(step.mesh):
        for number in range(NUM_STEPS):
            placed = jax.device_put(batch(number), partitioning.batch_sharding(step.mesh))
            current, found = step.program(current, placed)
            figures.append(jax.device_get(found))
    return jax.device_get(current), figures


def differing(one: Any, other: Any) -> list[str]:
    """Names of leaves whose bits differ."""
    theirs = manifest.named_leaves(other)
    return [
        name
        for name, leaf in manifest.named_leaves(one).items()
        if np.asarray(leaf).tobytes() != np.asarray(theirs[name]).tobytes()
    ]


@pytest.fixture(scope="module")
def reference() -> tuple[Any, list[Any]]:
    return taken(settings(), WHOLE)


@pytest.mark.long
@pytest.mark.timeout(1200)  # two programs of four objectives
def test_parameters_moments_and_figures_have_one_hash(reference: Any):
    found, figures = reference
    assert figures[-1]["update_skipped"] == 0 and figures[-1]["gradient_norm"] > 0.5  # is clipped
    assert all(np.isfinite(list(step.values())).all() for step in figures)
    moved = jax.tree.map(np.subtract, found.params, found.ema)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(moved)) > 1e-4
    assert differing(reference, taken(settings(), SPLIT_TWICE)) == []


@pytest.mark.long
def test_it_is_the_ordinary_step_up_to_rounding(reference: Any):
    (expected, figures), (found, ordinary) = reference, taken(settings(exact=False), WHOLE)
    for name, value in figures[0].items():
        assert ordinary[0][name] == pytest.approx(value, rel=1e-4), name
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, atol=3e-3),  # Adam's first steps
        found.params,
        expected.params,
    )


def test_a_frozen_bert_is_whole_where_devices_hold_its_parts():
    run, mesh = settings(), meshes.create_mesh(meshes.MeshConfig(1, 2, 1), jax.devices()[:2])
    network = configuration.resolve_model(run, vocabulary_size=300, feature_dim=fakes.FEATURE_DIM)
    bert = BertConfig(48, 2, 40, 1, "relu", 1e-12)
    text = dataclasses.replace(network.text, num_layers=0, input="bert_vectors", bert=bert)
    model = VideoBert(dataclasses.replace(network, text=text, norm="post"))
    frozen = dataclasses.replace(run.optimizer, frozen=("text_tower",))
    rule = optimizer.create_rule(frozen, run.training.num_steps, model)
    step = abstract_step.of(run, model, rule, mesh, fakes.PACKED_SHAPE)
    constants = manifest.named_leaves(step.state.constants)
    assert any("fsdp" in str(leaf.sharding.spec) for leaf in constants.values())
    assert "text_encoder" in rule.frozen and "text_encoder" not in step.state.params
    assert step.traced is not None


def test_accumulation_is_the_same_program():
    steps = [step_of(settings(training__accumulation_steps=count), WHOLE) for count in (1, 2)]
    assert steps[0].step is steps[1].step


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"data__blocks_per_batch": 6}, "blocks_per_batch=6 is no power of two; use 4 or 8"),
        ({"mesh__tensor": 2}, "exact=True with mesh.tensor=2: .* use mesh.tensor=1 with mesh.fsdp"),
        (
            {"optimizer__shard_over_data": True},
            "exact=True with optimizer.shard_over_data=True: .* use .*=False, with mesh.fsdp",
        ),
    ],
)
def test_what_has_no_tree_is_refused_before_anything_starts(changed: dict[str, Any], said: str):
    with pytest.raises(configuration.ConfigError, match=said):
        settings(**changed)
    settings(**changed, exact=False)


def test_tensor_that_takes_what_is_left_is_refused_too():
    run = settings(mesh__data=1, mesh__tensor=-1)
    with pytest.raises(configuration.ConfigError, match="exact=True with mesh.tensor=8"):
        stages.create_mesh(run)


# In a process of its own, for the tests' own compile without most optimisations.
OF_PARTS = """
import functools, jax, numpy as np, optax
from tests.training import test_exact_step as tests
from videobert_jax.models.videobert import VideoBert
from videobert_jax.training import optimizer
run = tests.settings()
from tests import fakes
from videobert_jax import configuration
network = configuration.resolve_model(run, vocabulary_size=300, feature_dim=fakes.FEATURE_DIM)
rule = optimizer.create_rule(run.optimizer, 20, VideoBert(network))
adam = optax.adamw(run.optimizer.learning_rate, b2=0.98, weight_decay=0.1)
generator = np.random.default_rng(0)

def draw(shape, scale):
    return (generator.normal(size=shape) * scale).astype(np.float32)

@jax.jit
def update(gradient, state, param, average):
    clip = optimizer.clip(0.5)
    gradient, _ = clip.update(gradient, None, gradient_norm=np.float32(1.7))
    change, state = adam.update(gradient, state, param)
    changed = optax.apply_updates(param, change)
    return change, changed, state, average + 0.1 * (changed - average)

for shape in ((16,), (24, 8), (40, 3), (16, 7, 5), (64, 100), (8, 3), (256, 33)):
    param, average = draw(shape, 1.0), draw(shape, 1.0)
    state = adam.init(param)
    parts = {n: (np.split(param, n), np.split(average, n)) for n in (2, 4, 8)}
    states = {n: [adam.init(each) for each in parts[n][0]] for n in parts}
    for step in range(3):
        gradient = draw(shape, 10.0 ** (step - 3))
        change, param, state, average = update(gradient, state, param, average)
        for n, (params, averages) in parts.items():
            inputs = zip(np.split(gradient, n), states[n], params, averages)
            outs = [update(*each) for each in inputs]
            parts[n] = ([out[1] for out in outs], [out[3] for out in outs])
            states[n] = [out[2] for out in outs]
            whole = (change, param, state[0].mu, state[0].nu, average)
            pieces = [(o[0], o[1], o[2][0].mu, o[2][0].nu, o[3]) for o in outs]
            for one, others in zip(whole, zip(*pieces)):
                joined = np.concatenate([np.asarray(other) for other in others])
                assert joined.tobytes() == np.asarray(one).tobytes(), (shape, n, step)
print("equal")
"""


def test_the_update_of_parts_is_that_of_the_whole():
    optimised = {
        name: value
        for name, value in os.environ.items()
        if name not in ("JAX_DISABLE_MOST_OPTIMIZATIONS", "XLA_FLAGS")
    }
    found = subprocess.run(
        [sys.executable, "-c", OF_PARTS], cwd=ROOT, env=optimised, capture_output=True, text=True
    )
    assert found.stdout == "equal\n", found.stderr[-3000:]
