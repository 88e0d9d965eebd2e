"""One step: the same on every mesh and with every accumulation; skipped where not finite."""

import dataclasses
import functools

import jax
import numpy as np
import optax
import pytest

from tests import fakes
from videobert_jax.models.videobert import VideoBert
from videobert_jax.sharding import mesh as meshes
from videobert_jax.sharding import partitioning
from videobert_jax.training import optimizer, state, steps
from videobert_jax.training.update_rule import UpdateRule

NUM_BLOCKS = 8


class Setting:
    """The same step on several meshes; each is compiled once."""

    def __init__(self, model, rule, objectives):
        self.model, self.rule, self.objectives = model, rule, objectives
        self._jitted = {}

    def born(self, sizes=(1, 1, 1)):
        """(mesh, state at step 0)."""
        devices = jax.devices()[: int(np.prod(sizes))]
        mesh = meshes.create_mesh(meshes.MeshConfig(*sizes), devices)
        return mesh, state.create_state(self.model, self.rule, mesh, 0, None)

    def step(self, accumulation_steps, num_shards):
        """The step as a function of state and batch."""
        return functools.partial(
            steps.train_step,
            model=self.model,
            rule=self.rule,
            objectives=self.objectives,
            seed=0,
            accumulation_steps=accumulation_steps,
            num_shards=num_shards,
        )

    def run(self, sizes, accumulation_steps, batch):
        """(state after one step, metrics) on a mesh of these sizes."""
        key = (sizes, accumulation_steps, batch.example_ids.shape)
        if key not in self._jitted:
            mesh, born = self.born(sizes)
            jitted = jax.jit(self.step(accumulation_steps, meshes.block_shards(mesh)))
            self._jitted[key] = (mesh, born, jitted)
        mesh, born, jitted = self._jitted[key]
        placed = jax.device_put(batch, partitioning.batch_sharding(mesh))
        with jax.set_mesh(mesh):
            after, metrics = jitted(born, placed)
        return jax.device_get(after), jax.device_get(metrics)


@pytest.fixture(scope="module")
def setting(tiny_run, tiny_model_config):
    # Plain descent at a fixed rate: Adam divides by the gradient's size, and would make noise of
    # 1e-8 in a gradient that is 0 as large as the gradient's sign.
    model = VideoBert(tiny_model_config)
    schedule = optax.constant_schedule(0.1)
    rule = UpdateRule(optax.sgd(schedule), schedule, frozenset({"pooler"}), ema_decay=0.5)
    return Setting(model, rule, tiny_run.objectives)


@pytest.fixture(scope="module")
def batch():
    made = fakes.batch(NUM_BLOCKS, 4)
    made.pair_weights[0, 0, 0] = 0
    made.text_slot_weights[3] = 0  # blocks of unequal weight: a mean of means would differ
    return made


@pytest.fixture(scope="module")
def reference(setting, batch):
    return setting.run((1, 1, 1), 1, batch)


# Data alone, accumulation alone, and all axes with accumulation: a case is a compile.
CASES = [((8, 1, 1), 1), ((1, 1, 1), 4), ((2, 2, 2), 2)]


@pytest.mark.parametrize(("sizes", "accumulation_steps"), CASES, ids=str)
def test_mesh_and_accumulation_change_nothing(setting, batch, reference, sizes, accumulation_steps):
    expected, expected_metrics = reference
    assert expected_metrics["gradient_norm"] > 1
    found, metrics = setting.run(sizes, accumulation_steps, batch)
    for name, value in expected_metrics.items():
        assert metrics[name] == pytest.approx(value, rel=1e-5), name
    # a step of 0.1 x gradient: agreement of the parameters is agreement of the gradients
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, atol=2e-6, rtol=1e-5),
        found.params,
        expected.params,
    )


def test_accumulation_takes_batches_without_content_words(setting):
    shape = dataclasses.replace(fakes.PACKED_SHAPE, weighted_text=0)
    mesh, born = setting.born()
    with jax.set_mesh(mesh):
        after, _ = jax.eval_shape(setting.step(2, 1), born, fakes.batch(4, 2, shape))
    assert jax.tree.map(np.shape, after) == jax.tree.map(np.shape, born)


def test_accumulation_without_the_global_phase_would_differ(setting, batch, reference):
    """The contrast of the blocks by themselves is another number, so the test above can fail."""
    alone = []
    for index in range(NUM_BLOCKS):
        part = jax.tree.map(lambda values, i=index: values[i : i + 1], batch)
        alone.append(float(setting.run((1, 1, 1), 1, part)[1]["contrastive"]))
    assert np.mean(alone) < 0.8 * reference[1]["contrastive"]


def test_a_gradient_that_is_not_finite_changes_no_parameter(setting, batch):
    bad = dataclasses.replace(batch, video_features=batch.video_features.copy())
    bad.video_features[0, 0, 0, 0] = np.inf
    after, metrics = setting.run((1, 1, 1), 1, bad)
    _, born = setting.born()
    assert metrics["update_skipped"] == 1
    assert after.step == 1
    before = jax.device_get(born.params)
    jax.tree.map(np.testing.assert_array_equal, after.params, before)
    jax.tree.map(np.testing.assert_array_equal, after.ema, before)


def test_metrics_without_any_weight_are_nan(setting, batch):
    silent = dataclasses.replace(batch, text_slot_weights=np.zeros_like(batch.text_slot_weights))
    after, metrics = setting.run((1, 1, 1), 1, silent)
    assert np.isnan(metrics["masked_language"])
    assert np.isfinite(metrics["loss"]) and metrics["update_skipped"] == 0


def test_state_is_born_sharded_as_the_table_says(tiny_run, tiny_model_config):
    model = VideoBert(tiny_model_config)
    averaging = dataclasses.replace(tiny_run.optimizer, ema_decay=0.9)
    rule = optimizer.create_rule(averaging, 20, model)
    mesh = meshes.create_mesh(meshes.MeshConfig(2, 2, 2), jax.devices())
    created = state.create_state(model, rule, mesh, 0, None)
    structs = state.state_structs(model, rule, mesh)
    for (path, leaf), struct in zip(
        jax.tree_util.tree_leaves_with_path(created), jax.tree.leaves(structs), strict=True
    ):
        name = jax.tree_util.keystr(path)
        assert leaf.sharding.is_equivalent_to(struct.sharding, leaf.ndim), name
        assert (leaf.shape, leaf.dtype) == (struct.shape, struct.dtype), name
    layer = created.params["text_encoder"]["stack"]["layers"]["layer"]
    query = layer["attention"]["query"]["kernel"]
    assert query.sharding.shard_shape(query.shape) == (2, 16, 2, 8)
    copies = [
        leaf
        for leaf in jax.tree.leaves((created.opt_state, created.ema))
        if leaf.shape == query.shape
    ]
    assert len(copies) % 3 == 0  # two moments and the average of each
    assert all(leaf.sharding.shard_shape(leaf.shape) == (2, 16, 2, 8) for leaf in copies)


@pytest.fixture(scope="module")
def word_setting(tiny_run, tiny_model_config):
    """The objectives that configs/tiny.py leaves off, alone, in a network of one layer a side."""
    tiny = tiny_model_config
    config = dataclasses.replace(
        tiny,
        token_head=True,
        bag_of_words_head=False,
        dropout_rate=0.0,  # half of what there is to compile
        text=dataclasses.replace(tiny.text, num_layers=1),
        video=dataclasses.replace(tiny.video, num_layers=1),
    )
    every = tiny_run.objectives
    changes: dict[str, dict] = {name: {"weight": 0.0} for name in every.weights()}
    changes["token_contrastive"] = {"weight": 1.0, "chunks": 2}
    changes["cascade"] = {"weight": 1.0, "negatives": 2}
    changed = {n: dataclasses.replace(getattr(every, n), **c) for n, c in changes.items()}
    objectives = dataclasses.replace(every, **changed)
    schedule = optax.constant_schedule(0.1)
    rule = UpdateRule(optax.sgd(schedule), schedule, frozenset(), ema_decay=0.0)
    return Setting(VideoBert(config), rule, objectives)


def test_mesh_and_accumulation_change_nothing_of_words_and_cascade(word_setting, batch):
    expected, expected_metrics = word_setting.run((1, 1, 1), 1, batch)
    _, born = word_setting.born()
    for module in ("token_head", "matching_head", "cross_encoder", "text_encoder", "video_encoder"):
        moved = jax.tree.map(
            np.subtract, expected.params[module], jax.device_get(born.params[module])
        )
        assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(moved)) > 1e-4, module
    found, metrics = word_setting.run((2, 2, 2), 2, batch)
    for name, value in expected_metrics.items():
        assert metrics[name] == pytest.approx(value, rel=1e-5), name
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, atol=2e-6, rtol=1e-5),
        found.params,
        expected.params,
    )


def test_every_objective_has_a_gradient(setting, batch):
    _, born = setting.born()
    part = fakes.on_device(jax.tree.map(lambda values: values[:1], batch))
    norms = jax.jit(
        functools.partial(
            steps.objective_gradient_norms,
            model=setting.model,
            rule=setting.rule,
            objectives=setting.objectives,
            seed=0,
        )
    )(born, part)
    assert set(norms) == {n for n, weight in setting.objectives.weights().items() if weight > 0}
    assert all(float(norm) > 0.01 for norm in norms.values())


def test_every_objective_is_trained_by_one_of_the_steps(setting, word_setting):
    both = setting.objectives.weights(), word_setting.objectives.weights()
    assert all(max(weights[name] for weights in both) > 0 for name in both[0])


def test_layers_of_the_step_are_constrained(setting, batch):
    """Without a mesh in context a constraint is a silent no-op: count them in the lowered step."""
    mesh = meshes.create_mesh(meshes.MeshConfig(8, 1, 1), jax.devices())
    structs = state.state_structs(setting.model, setting.rule, mesh)
    with jax.set_mesh(mesh):
        lowered = jax.jit(setting.step(1, 8)).lower(structs, batch).as_text()
    assert lowered.count("sharding_constraint") > 20
