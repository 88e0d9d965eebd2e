import dataclasses

import jax
import numpy as np
import pytest

from tests.data import blocks, drawn
from videobert_jax import schema
from videobert_jax.data import block, data_state, device_feed
from videobert_jax.data.fill import HostBlock
from videobert_jax.sharding import mesh as meshes

BLOCKS = 8


@pytest.fixture
def builder(dataset, tokenizer):
    sources = [(dataset.split("train"), "text_video", 1.0)]
    return block.BlockBuilder(sources, tokenizer, blocks.settings(block_size=4))


def _feed(builder, mesh, first=0, last=3) -> device_feed.DeviceFeed:
    return device_feed.DeviceFeed(builder, mesh, BLOCKS, [range(first, last)], "threads", 2, 1)


def _mesh(*sizes: int):
    count = int(np.prod(sizes))
    return meshes.create_mesh(meshes.MeshConfig(*sizes), jax.devices()[:count])


@pytest.mark.parametrize("sizes", [(1, 1, 1), (8, 1, 1), (1, 4, 2), (2, 2, 2)])
def test_batches_are_the_blocks_in_order_on_every_mesh(builder, sizes):
    mesh = _mesh(*sizes)
    with _feed(builder, mesh) as feed:
        batches = [batch for batch, _ in feed]
    assert len(batches) == 3
    built = [builder.build(k) for k in range(3 * BLOCKS)]
    for step, batch in enumerate(batches):
        for name, values in vars(batch).items():
            assert values.sharding.mesh == mesh
            assert len(values.sharding.device_set) == int(np.prod(sizes))
            for place, found in enumerate(np.asarray(values)):
                expected = getattr(built[step * BLOCKS + place].batch, name)
                assert found.tobytes() == expected.tobytes(), name


def test_a_feed_from_the_middle_goes_on_with_the_same_batches(builder):
    mesh = _mesh(2, 1, 1)
    with _feed(builder, mesh) as feed:
        whole = [batch for batch, _ in feed]
    with _feed(builder, mesh, first=2) as feed:
        rest = [batch for batch, _ in feed]
    assert len(rest) == 1
    for a, b in zip(jax.tree.leaves(whole[2]), jax.tree.leaves(rest[0]), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_closing_early_ends_the_feed(builder):
    feed = _feed(builder, _mesh(1, 1, 1), last=10**6)
    _, report = next(feed)
    assert report.waited_seconds > 0
    feed.close()
    with pytest.raises(StopIteration):
        next(feed)


@dataclasses.dataclass
class _Damaged:
    """Says that of every block this many examples are damaged."""

    builder: block.BlockBuilder
    settings: block.BlockSettings
    number: int

    def build(self, k: int) -> HostBlock:
        return dataclasses.replace(self.builder.build(k), damaged=self.number)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 2, 2)])
def test_damaged_examples_are_counted_beside_their_blocks_within_a_budget(builder, sizes):
    allowed = dataclasses.replace(builder.settings, max_damaged_fraction=0.05)
    with _feed(_Damaged(builder, allowed, 1), _mesh(*sizes), last=8) as feed:
        reports = [(batch.example_ids.sharding, report) for batch, report in feed]
    for layout, report in reports:
        assert np.asarray(report.damaged).tolist() == [1] * BLOCKS
        assert report.damaged.sharding == layout  # each process says those of its own blocks
    spent = [report.budget.spend(BLOCKS) for _, report in reports]
    assert spent[:6] == [None] * 6  # 48 of 1,000, the fewest that are judged
    assert isinstance(spent[6], device_feed.DamagedDataError)
    said = [str(error) for error in spent[6:]]
    assert "56 of 224 examples" in said[0] and "max_damaged_fraction=0.05" in said[0]
    assert "64 of 256 examples" in said[1]
    budget = device_feed.DamageBudget(0.05, 1000)  # of more examples, a fraction of all
    assert [budget.spend(damaged) is None for damaged in (50, 50, 51)] == [True, True, False]


@pytest.mark.parametrize("sizes", [None, (1, 1, 1), (2, 2, 1)])
def test_evaluation_batches_hold_every_example_once(dataset, tokenizer, sizes):
    split = dataset.split("train")
    settings = blocks.settings(block_size=4, masking=blocks.NO_MASKING)
    evaluation = block.EvaluationBuilder(split, tokenizer, settings)
    assert evaluation.num_blocks == 5
    mesh = None if sizes is None else _mesh(*sizes)
    batches = list(device_feed.evaluation_batches(evaluation, mesh, 4))
    assert len(batches) == 2
    ids = np.concatenate([np.asarray(batch.example_ids).reshape(-1) for batch in batches])
    assert ids[: len(split)].tolist() == list(range(len(split)))
    assert set(ids[len(split) :].tolist()) == {schema.PADDING_EXAMPLE}
    padding = batches[-1].text_segment_ids[1:]
    assert not np.asarray(padding).any() and isinstance(padding, np.ndarray) == (mesh is None)
    assert not np.asarray(batches[-1].pair_weights[1:]).any()
    assert batches[0].video_features.shape == (4, 4, 40, drawn.DIM)


def test_the_data_state_continues_or_says_why_not(dataset, builder, tokenizer):
    sources = [
        (dataset.split("train"), "text_video", 3.0),
        (dataset.split("spoken"), "text_only", 1.0),
    ]
    mixed = block.BlockBuilder(sources, tokenizer, builder.settings)
    saved = data_state.data_state(mixed, BLOCKS, 6)
    consumed = [mixed.schedule.locate(k)[0] for k in range(6 * BLOCKS)]
    assert saved["position"] == [consumed.count(0) * 4, consumed.count(1) * 4]
    data_state.check_data_state(saved, data_state.data_state(mixed, BLOCKS, 6))
    data_state.check_data_state(saved, data_state.data_state(mixed, BLOCKS, 0))
    older = {name: saved[name] for name in saved if name not in ("stage", "stage_step")}
    data_state.check_data_state(older, data_state.data_state(mixed, BLOCKS, 6))
    later = data_state.data_state(mixed, BLOCKS, 6, stage=1, first_step=6)
    assert later["position"] == [0, 0]
    with pytest.raises(data_state.DataStateError, match="stage: the checkpoint has 0, this run ha"):
        data_state.check_data_state(older, later)
    with pytest.raises(data_state.DataStateError, match="'stage_step': 6.* this version .*: 0,"):
        data_state.check_data_state(saved, {**saved, "stage_step": 0})
    with pytest.raises(
        data_state.DataStateError, match="sources.1.split: the checkpoint has .spoken"
    ):
        data_state.check_data_state(saved, data_state.data_state(builder, BLOCKS, 6))
    other = dataclasses.replace(builder.settings, seed=9)
    reseeded = block.BlockBuilder(sources, tokenizer, other)
    with pytest.raises(data_state.DataStateError, match="seed: the checkpoint has 0, this run has"):
        data_state.check_data_state(saved, data_state.data_state(reseeded, BLOCKS, 6))
    with pytest.raises(data_state.DataStateError, match="blocks_per_batch"):
        data_state.check_data_state(saved, data_state.data_state(mixed, 2 * BLOCKS, 6))
