"""One step: the same on every mesh and with every accumulation; skipped where not finite."""

import dataclasses
import functools
import re
from unittest import mock

import jax
import numpy as np
import optax
import pytest

from tests import fakes, rules
from videobert_jax.models.videobert import VideoBert
from videobert_jax.sharding import mesh as meshes
from videobert_jax.sharding import partitioning
from videobert_jax.training import collectives, hlo, optimizer, state, steps
from videobert_jax.training.update_rule import UpdateRule

NUM_BLOCKS = 8


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where a step is taken: a mesh, over slices, and whether the optimizer is split over data, all
    of it or as many parts as data_parts says."""

    sizes: tuple[int, int, int] = (1, 1, 1)
    accumulation_steps: int = 1
    slices: int = 1
    shard_over_data: bool = False
    data_parts: int | None = None

    def mesh(self):
        devices = jax.devices()[: int(np.prod(self.sizes))]
        config = meshes.MeshConfig(*self.sizes)
        if self.slices == 1:
            return meshes.create_mesh(config, devices)
        # Neighbours are of different slices: only a mesh that knows of them keeps them apart.
        within = [OfSlice(device, n % self.slices) for n, device in enumerate(devices)]
        mesh = meshes.create_mesh(config, within)
        grid = np.vectorize(lambda each: each.device, otypes=[object])(mesh.devices)
        return jax.sharding.Mesh(grid, mesh.axis_names, axis_types=mesh.axis_types)


class OfSlice:
    """A CPU device that says which slice it is of, as TPUs do."""

    def __init__(self, device, slice_index):
        self.device, self.slice_index = device, slice_index

    def __getattr__(self, name):
        return getattr(self.device, name)


class Setting:
    """The same step on several meshes; each is compiled once."""

    def __init__(self, model, rule, objectives):
        self.model, self.rule, self.objectives = model, rule, objectives
        self._compiled = {}

    @functools.cached_property
    def _first(self):
        return state.create_state(self.model, self.rule, Layout().mesh(), 0, None)

    def born(self, layout=Layout()):  # noqa: B008
        """(mesh, state at step 0)."""
        mesh = layout.mesh()
        parts = layout.data_parts or mesh.shape["data"]
        with mock.patch.object(meshes, "data_parts", lambda mesh: parts):
            structs = state.state_structs(self.model, self._rule(layout), mesh)
        return mesh, jax.device_put(self._first, state.state_shardings(structs))

    def _rule(self, layout):
        return dataclasses.replace(self.rule, shard_over_data=layout.shard_over_data)

    def step(self, accumulation_steps, num_shards, layout=Layout()):  # noqa: B008
        """The step as a function of state and batch."""
        return functools.partial(
            steps.train_step,
            model=self.model,
            rule=self._rule(layout),
            objectives=self.objectives,
            seed=0,
            accumulation_steps=accumulation_steps,
            num_shards=num_shards,
            data_parts=layout.data_parts,
        )

    def compiled(self, layout, batch):
        """(mesh, state at step 0, compiled step, what was compiled) of batches of this shape."""
        key = (layout, batch.example_ids.shape)
        if key not in self._compiled:
            mesh, born = self.born(layout)
            placed = jax.device_put(batch, partitioning.batch_sharding(mesh))
            step = self.step(layout.accumulation_steps, meshes.block_shards(mesh), layout)
            shardings = (jax.tree.map(lambda leaf: leaf.sharding, born), None)
            with jax.set_mesh(mesh):
                lowered = jax.jit(step, out_shardings=shardings).lower(born, placed)
                self._compiled[key] = (mesh, born, lowered.compile(), lowered.as_text())
        return self._compiled[key]

    def run(self, layout, batch):
        """(state after one step, metrics)."""
        mesh, born, compiled, _ = self.compiled(layout, batch)
        after, metrics = compiled(born, jax.device_put(batch, partitioning.batch_sharding(mesh)))
        return jax.device_get(after), jax.device_get(metrics)


def setting_of(config, objectives):
    # Plain descent at a fixed rate: Adam divides by the gradient's size, and would make noise of
    # 1e-8 in a gradient that is 0 as large as the gradient's sign.
    schedule = optax.constant_schedule(0.1)
    rule = UpdateRule(
        optax.sgd(schedule, momentum=0.9),
        schedule,
        frozenset({"pooler"}),
        ema_decay=0.5,
        shard_over_data=False,
        spike_factor=20.0,
    )
    return Setting(VideoBert(config), rule, objectives)


@pytest.fixture(scope="module")
def setting(tiny_run, tiny_model_config):
    """Objectives of the towers, of one and of two passes of the cross-modal encoder, without
    dropout: there is less to compile."""
    config = dataclasses.replace(
        tiny_model_config,
        dropout_rate=0.0,
        bag_of_words_head=False,
        decoder=dataclasses.replace(tiny_model_config.decoder, num_layers=0),
    )
    every = tiny_run.objectives
    off = {
        name: dataclasses.replace(getattr(every, name), weight=0.0)
        for name in every.weights()
        if name not in ("contrastive", "masked_language", "matching")
    }
    return setting_of(config, dataclasses.replace(every, **off))


@pytest.fixture(scope="module")
def whole_setting(tiny_run, tiny_model_config):
    """All objectives of configs/tiny.py, with dropout."""
    return setting_of(tiny_model_config, tiny_run.objectives)


@pytest.fixture(scope="module")
def batch():
    made = fakes.batch(NUM_BLOCKS, 4)
    made.pair_weights[0, 0, 0] = 0
    made.text_slot_weights[3] = 0  # blocks of unequal weight: a mean of means would differ
    return made


@pytest.fixture(scope="module")
def reference(setting, batch):
    return setting.run(Layout(), batch)


# A case is a compile. The optimizer split over data alone; accumulation alone; all axes over two
# slices with accumulation.
ZERO_1 = Layout((8, 1, 1), shard_over_data=True)
ZERO_1_IN_PARTS = Layout((4, 1, 1), accumulation_steps=2, shard_over_data=True, data_parts=2)
EVERY_AXIS = Layout((2, 2, 2), accumulation_steps=2, slices=2)


def assert_nothing_changes(setting, batch, layout):
    expected, expected_metrics = setting.run(Layout(), batch)
    assert expected_metrics["gradient_norm"] > 1
    found, metrics = setting.run(layout, batch)
    for name, value in expected_metrics.items():
        assert metrics[name] == pytest.approx(value, rel=1e-5), name
    # a step of 0.1 x gradient: agreement of the parameters is agreement of the gradients
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, atol=2e-6, rtol=1e-5),
        (found.params, found.ema),
        (expected.params, expected.ema),
    )


@pytest.mark.parametrize("layout", [ZERO_1, ZERO_1_IN_PARTS, EVERY_AXIS], ids=str)
def test_mesh_and_accumulation_change_nothing(setting, batch, layout):
    assert_nothing_changes(setting, batch, layout)


@pytest.mark.long
@pytest.mark.parametrize("layout", [ZERO_1, Layout(accumulation_steps=4), EVERY_AXIS], ids=str)
def test_mesh_and_accumulation_change_nothing_of_all_objectives(whole_setting, batch, layout):
    assert_nothing_changes(whole_setting, batch, layout)


def test_slices_are_kept_apart_by_the_outer_data_axis():
    slices = np.vectorize(lambda device: device.id % 2)(EVERY_AXIS.mesh().devices)
    assert (slices[0] == 0).all() and (slices[1] == 1).all()


def test_the_optimizer_is_split_over_data(setting, batch):
    """By the layouts of its leaves, and by what the compiled step takes."""
    mesh, born, compiled, _ = setting.compiled(ZERO_1, batch)
    whole = dict.fromkeys(("params", "opt_state", "ema"), 0)
    held = dict(whole)
    for name in whole:
        for leaf in jax.tree.leaves(getattr(born, name)):
            whole[name] += leaf.nbytes
            held[name] += leaf.addressable_shards[0].data.nbytes
    assert held["params"] == whole["params"]
    for name in ("opt_state", "ema"):
        assert held[name] < 0.13 * whole[name], name  # an eighth, and what 8 does not divide
    blocks = jax.device_put(batch, partitioning.batch_sharding(mesh))
    batch_bytes = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(blocks))
    arguments = compiled.memory_analysis().argument_size_in_bytes
    assert arguments == pytest.approx(sum(held.values()) + batch_bytes, rel=0.01)


def test_gradients_are_summed_once_over_data(setting, batch):
    """Both passes of the cross-modal encoder share one sum of its gradients; what is gathered are
    the parameters that ZeRO-1 updates part by part, and the embeddings."""
    mesh, born, compiled, _ = setting.compiled(ZERO_1, batch)
    gradients = sum(leaf.nbytes for leaf in jax.tree.leaves(setting.rule.trainable(born.params)))
    found = collectives.collectives(hlo.read(compiled.as_text()), mesh.shape)
    sizes = {total.kind: total.bytes_a_step for total in collectives.totals(found)}
    assert sizes["all-reduce"] == pytest.approx(gradients, rel=0.1)
    assert sizes["all-gather"] == pytest.approx(gradients, rel=0.1)


def test_in_parts_gradients_are_scattered_and_then_summed(setting, batch):
    """By the compiled step: what is summed over all of data is only what no part divides."""
    layout = dataclasses.replace(ZERO_1, data_parts=4)
    assert_nothing_changes(setting, batch, layout)
    mesh, born, compiled, _ = setting.compiled(layout, batch)
    gradients = sum(leaf.nbytes for leaf in jax.tree.leaves(setting.rule.trainable(born.params)))
    found = collectives.collectives(hlo.read(compiled.as_text()), mesh.shape)
    sums: dict[int, int] = {}
    for each in found:
        if each.kind in ("all-reduce", "reduce-scatter"):
            sums[each.group_size] = sums.get(each.group_size, 0) + each.bytes_a_step
    assert sums[4] == pytest.approx(gradients, rel=0.05)
    assert sums[2] == pytest.approx(gradients / 4, rel=0.1)
    assert sums.get(8, 0) < 0.1 * gradients
    for name in ("opt_state", "ema"):
        leaves = jax.tree.leaves(getattr(born, name))
        held = sum(leaf.addressable_shards[0].data.nbytes for leaf in leaves)
        assert held < 0.26 * sum(leaf.nbytes for leaf in leaves), name


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
        weights = np.zeros_like(batch.pair_weights)  # what weighs nothing is no candidate either
        weights[index] = batch.pair_weights[index]
        part = dataclasses.replace(batch, pair_weights=weights)
        alone.append(float(setting.run(Layout(), part)[1]["contrastive"]))
    assert np.mean(alone) < 0.8 * reference[1]["contrastive"]


def test_a_gradient_that_is_not_finite_changes_no_parameter(setting, batch):
    bad = dataclasses.replace(batch, video_features=batch.video_features.copy())
    bad.video_features[0, 0, 0, 0] = np.inf
    after, metrics = setting.run(Layout(), bad)
    _, born = setting.born()
    assert metrics["update_skipped"] == 1
    assert after.step == 1
    before = jax.device_get(born.params)
    jax.tree.map(np.testing.assert_array_equal, after.params, before)
    jax.tree.map(np.testing.assert_array_equal, after.ema, before)


def test_metrics_without_any_weight_are_nan(setting, batch):
    silent = dataclasses.replace(batch, text_slot_weights=np.zeros_like(batch.text_slot_weights))
    after, metrics = setting.run(Layout(), silent)
    assert np.isnan(metrics["masked_language"])
    assert np.isfinite(metrics["loss"]) and metrics["update_skipped"] == 0


def test_state_is_born_sharded_as_the_table_says(setting, tiny_run):
    model = setting.model
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
    _, on_one_device = setting.born()
    jax.tree.map(
        np.testing.assert_array_equal,
        jax.device_get(created.params),
        jax.device_get(on_one_device.params),
    )
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
        bag_of_words_reads="tower",
        bag_of_words_dropout_rate=0.0,
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
    rule = rules.plain_sgd(0.1)
    return Setting(VideoBert(config), rule, objectives)


@pytest.mark.long
def test_mesh_and_accumulation_change_nothing_of_words_and_cascade(word_setting, batch):
    expected, expected_metrics = word_setting.run(Layout(), batch)
    _, born = word_setting.born()
    for module in ("token_head", "matching_head", "cross_encoder", "text_encoder", "video_encoder"):
        moved = jax.tree.map(
            np.subtract, expected.params[module], jax.device_get(born.params[module])
        )
        assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(moved)) > 1e-4, module
    found, metrics = word_setting.run(Layout((2, 2, 2), accumulation_steps=2), batch)
    for name, value in expected_metrics.items():
        assert metrics[name] == pytest.approx(value, rel=1e-5), name
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, atol=2e-6, rtol=1e-5),
        found.params,
        expected.params,
    )


@pytest.mark.long
def test_every_objective_has_a_gradient(whole_setting, batch):
    _, born = whole_setting.born()
    part = fakes.on_device(jax.tree.map(lambda values: values[:1], batch))
    norms = jax.jit(
        functools.partial(
            steps.objective_gradient_norms,
            model=whole_setting.model,
            rule=whole_setting.rule,
            objectives=whole_setting.objectives,
            seed=0,
        )
    )(born, part)
    assert set(norms) == {
        n for n, weight in whole_setting.objectives.weights().items() if weight > 0
    }
    assert all(float(norm) > 0.01 for norm in norms.values())


def test_every_objective_is_trained_by_one_of_the_steps(whole_setting, word_setting):
    both = whole_setting.objectives.weights(), word_setting.objectives.weights()
    trained = {name for weights in both for name, weight in weights.items() if weight > 0}
    # those two need labels of a dataset: tests/integration/test_answers.py, test_segmentation.py
    assert trained == set(both[0]) - {"answering", "segmentation"}


def test_layers_of_the_step_are_constrained(setting, batch):
    """Without a mesh in context a constraint is a silent no-op: count those of activations,
    [shards of data, blocks, rows, length, dimensions ...], in what was compiled."""
    *_, lowered = setting.compiled(ZERO_1, batch)
    length = rf"(?:{batch.text_ids.shape[-1]}|{batch.video_features.shape[-2]})"
    activation = rf"sharding_constraint.*tensor<8x1x4x{length}x[x\d]+xf32>"
    assert len(re.findall(activation, lowered)) > 20
