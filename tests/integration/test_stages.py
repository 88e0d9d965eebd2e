"""Runs in stages: each with settings of its own, resumed anywhere to the same bits."""

import contextlib
import io
import pathlib
from collections.abc import Iterator
from typing import Any

import ml_collections
import numpy as np
import pytest

from configs import base, tiny
from tests.drills import train_with
from tests.integration import runs
from videobert_jax import configuration
from videobert_jax.data import device_feed, index, order
from videobert_jax.models import config as models_config
from videobert_jax.training import (
    abstract_step,
    checkpoint,
    checkpoint_folder,
    loop,
    manifest,
    stages,
    steps,
)

pytestmark = pytest.mark.usefixtures("on_one_device")

BLOCK = 4
NUM_STEPS, BOUNDARY = 6, 3
STAGES = (
    # the towers alone, in one space, then the words with what the clips tell of them
    (
        3,
        {
            "optimizer.frozen": "text_tower,cross_encoder",
            "optimizer.warmup_steps": 1,
            "objectives.masked_language.weight": 0.0,
            "objectives.contrastive.weight": 1.0,
            "data.sources.spoken.weight": 0.0,
        },
    ),
    (
        3,
        {
            "optimizer.frozen": "video_tower",
            "optimizer.learning_rate": 2e-3,
            "optimizer.ema_decay": 0.5,
            "data.blocks_per_batch": 2,
            "data.sources.spoken.weight": 2.0,
            "data.masking.text_rate": 0.5,
        },
    ),
)


def config_of(dataset: pathlib.Path, *parts: tuple[int, dict[str, Any]]) -> Any:
    """Of a network without layers: these tests are about the loop, and their time is compiling."""
    config = tiny.get_config()
    for name, value in runs.SETTINGS.items():
        configuration.apply_override(config, name, str(value))
    config.data.path = str(dataset)
    config.data.block_size = BLOCK
    config.data.blocks_per_batch = 1
    config.data.sources = ml_collections.ConfigDict(
        {"main": base.source(), "spoken": base.source(split="validation", regime="text_only")}
    )
    config.optimizer.ema_decay = 0.0
    for stack in ("text", "video", "cross"):
        config.model[stack].num_layers = 0
    for name in configuration.parse(config).objectives.weights():
        config.objectives[name].weight = float(name == "masked_language")
    config.training.num_steps = NUM_STEPS
    config.training.save_every = 100
    config.stages = [base.stage(*part) for part in parts]
    return config


def train(workdir: pathlib.Path, config: Any, **rest: Any) -> loop.TrainResult:
    run, fields = configuration.parse(config), configuration.to_json(config)
    return loop.train(run, fields, workdir, evaluators=(), **rest)


@pytest.fixture(scope="module", autouse=True)
def compiled() -> Iterator[list[int]]:
    """Number of blocks of every training step that is traced."""
    traced: list[int] = []
    step = steps.train_step

    def counted(state: Any, batch: Any, **rest: Any) -> Any:
        traced.append(batch.example_ids.shape[0])
        return step(state, batch, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "train_step", counted)
        yield traced


@pytest.fixture(scope="module")
def config(tiny_dataset: pathlib.Path) -> Any:
    return config_of(tiny_dataset, *STAGES)


class Watch:
    """What a run gave to its devices, what it saved, and the leaves before and after a boundary."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.examples: list[np.ndarray] = []  # a step: ids of [blocks, examples]
        self.saved: dict[int, tuple[dict[str, np.ndarray], dict[str, Any]]] = {}
        self.boundary: tuple[dict[str, np.ndarray], ...] = ()
        take, save = device_feed.DeviceFeed.__next__, checkpoint.Checkpointer.save
        carry = stages.carry_over

        def taken(feed: Any) -> Any:
            batch, report = take(feed)
            self.examples.append(np.asarray(batch.example_ids)[..., 0])
            return batch, report

        def saving(checkpointer: Any, step: int, state: Any, data: dict[str, Any]) -> None:
            self.saved[step] = (copied(state), data)
            save(checkpointer, step, state, data)

        def carried(state: Any, stage: Any) -> Any:
            before = copied(state)
            after, said = carry(state, stage)
            self.boundary = (before, copied(after))
            return after, said

        patch.setattr(device_feed.DeviceFeed, "__next__", taken)
        patch.setattr(checkpoint.Checkpointer, "save", saving)
        patch.setattr(stages, "carry_over", carried)


def copied(state: Any) -> dict[str, np.ndarray]:
    """Leaves by name, which donating the state leaves as they are."""
    return {name: np.array(leaf) for name, leaf in manifest.named_leaves(state).items()}


@pytest.fixture(scope="module")
def reference(
    config: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[pathlib.Path, Watch, str]:
    """(workdir, what was seen, what was said) of a run never stopped, saved at each step."""
    workdir, said = tmp_path_factory.mktemp("stages") / "reference", io.StringIO()
    often = config.copy_and_resolve_references()
    often.training.save_every = 1
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        watch = Watch(patch)
        assert train(workdir, often).finished
    return workdir, watch, said.getvalue()


def test_it_is_resumed_around_a_boundary_to_the_same_bits(
    config: Any, reference: Any, compiled: list[int], tmp_path: pathlib.Path
):
    traced = []
    for stop in (BOUNDARY - 1, BOUNDARY, BOUNDARY + 1, None):
        compiled.clear()
        abstract_step.made.cache_clear()  # as in a process of its own
        result = train(tmp_path, config, stop=lambda step, at=stop: step == at)
        assert result.step == (stop or NUM_STEPS)
        traced.append(list(compiled))
    assert traced == [[1], [1], [2], [2]]  # blocks: behind the boundary the second stage alone
    workdir = reference[0]
    assert runs.saved_digests(tmp_path, NUM_STEPS) == runs.saved_digests(workdir, NUM_STEPS)
    assert runs.figures(tmp_path) == runs.figures(workdir)


def test_too_much_damage_in_the_last_batch_of_a_stage_saves_what_the_next_one_begins_with(
    config: Any, tmp_path: pathlib.Path
):
    strict = config.copy_and_resolve_references()
    strict.data.max_damaged_fraction = 0.003
    with train_with.damaged("2"), pytest.raises(device_feed.DamagedDataError, match="4 of 12 "):
        train(tmp_path, strict)
    assert checkpoint_folder.manifest_steps(tmp_path) == [BOUNDARY]
    assert [line["damaged_examples"] for line in runs.figures(tmp_path)] == [0, 0, 4]
    assert train(tmp_path, config).step == NUM_STEPS


def test_each_source_goes_on_where_the_stage_before_left_it(reference: Any, tiny_dataset):
    _, watch, _ = reference
    dataset = index.open_dataset(tiny_dataset)
    sizes = [len(dataset.split(name)) for name in ("train", "validation")]
    given: list[list[np.ndarray]] = [[], []]
    for step, blocks in enumerate(watch.examples):
        if step:
            data = watch.saved[step][1]
            assert data["position"] == [BLOCK * len(of_source) for of_source in given]
            assert (data["stage"], data["stage_step"]) == (step >= BOUNDARY, step % BOUNDARY)
        assert len(blocks) == (1 if step < BOUNDARY else 2)
        for block in blocks:
            given[int(block[0] >= sizes[0])].append(block)
    assert [len(of_source) for of_source in given] == [3 + 2, 4]  # 0 of the stage without weight
    for source, of_source in enumerate(given):
        seed = int(order.bits(0, order.SOURCE, source, 0))
        ids = order.example_ids(seed, sizes[source], 1, np.arange(BLOCK * len(of_source)))
        expected = ids.reshape(-1, BLOCK) + (sizes[0] if source else 0)
        for block, of_order in zip(of_source, expected, strict=True):
            assert sorted(block) == sorted(of_order)


def test_leaves_of_the_optimizer_go_on_where_both_stages_have_them(reference: Any):
    before, after = reference[1].boundary
    begun = {"window"}  # of the guard: another loss has another size
    assert np.isfinite(before["window"][:, -BOUNDARY:]).all() and np.isnan(after["window"]).all()
    kept = [n for n in after if n in before and n not in begun and not n.endswith("/2/count")]
    for name in kept:
        np.testing.assert_array_equal(before[name], after[name], err_msg=name)
    moments = {name.split("u/")[1].split("/")[0] for name in kept if "/mu/" in name}
    modules = {name.split("/")[1] for name in after if name.startswith("params/")}
    assert moments == modules & set(models_config.MODULE_GROUPS["heads"]) and len(moments) > 4
    assert np.abs(after["opt_state/1/0/mu/joint_head/text/kernel"]).max() > 0
    assert after["opt_state/1/0/count"] == BOUNDARY and after["opt_state/1/2/count"] == 0
    fresh = {name for name in after if name not in before}
    assert {name.split("/")[0] for name in fresh} == {"opt_state", "ema"}
    for name in fresh:
        params = after[f"params/{name.removeprefix('ema/')}"] if name.startswith("ema/") else 0
        np.testing.assert_array_equal(after[name], np.broadcast_to(params, after[name].shape))
    assert any("/mu/text_encoder/" in name for name in fresh)
    assert not any("/video_e" in name for name in after if name.startswith("opt_state"))


def test_what_is_frozen_differs_from_stage_to_stage(reference: Any):
    saved = reference[1].saved
    text, video = "params/text_embedding/pieces", "params/video_embedding/project/kernel"
    first, middle, last = (saved[step][0] for step in (1, BOUNDARY, NUM_STEPS))
    np.testing.assert_array_equal(first[text], middle[text])
    np.testing.assert_array_equal(middle[video], last[video])
    assert np.abs(first[video] - middle[video]).max() > 1e-4
    assert np.abs(middle[text] - last[text]).max() > 1e-4


def test_figures_and_the_log_tell_the_stage(reference: Any):
    workdir, _, said = reference
    figures = runs.figures(workdir)
    assert [line["stage"] for line in figures] == [0, 0, 0, 1, 1, 1]
    rates = [line["learning_rate"] for line in figures]
    cosine = 0.5 * 1e-3  # half way through the two steps behind the warm-up
    np.testing.assert_allclose(rates, [0, 1e-3, cosine, 0, 1e-3, 2e-3], rtol=1e-5)
    assert "contrastive" in figures[0] and "masked_language" in figures[3]
    assert "stages.0: steps 0 to 3, of 4 examples each\n" in said
    assert "stages.1: steps 3 to 6, of 8 examples each\n" in said
    assert "step 5/6  stages.1  loss" in said
    (line,) = [line for line in said.splitlines() if "begins;" in line]
    assert line.startswith("step 3: stages.1 begins; the optimizer keeps bag_of_words_head, count")
    assert "; begins cross_encoder, moving average, text_embedding, text_encoder; drops" in line
    assert line.endswith("; drops video_embedding, video_encoder")
